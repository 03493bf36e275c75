"""Puts requests on the wire at the intended instants. Knows nothing of rate limits or verdicts."""
