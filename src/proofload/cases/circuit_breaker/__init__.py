"""TC-CB: circuit breakers."""
