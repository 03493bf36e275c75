"""TC-LATENCY: response times."""
