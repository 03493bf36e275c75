"""TC-MON: metrics and logs."""
