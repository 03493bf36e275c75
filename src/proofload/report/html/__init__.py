"""The report as one HTML file: no script, no request to anywhere, right in light, in dark and on paper."""
