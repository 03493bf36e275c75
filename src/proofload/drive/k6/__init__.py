"""What k6 drove, read into our own words: `k6 run --out json=results.json` becomes a history."""

from proofload.drive.k6.results import K6Results, read_results

__all__ = ["K6Results", "read_results"]
