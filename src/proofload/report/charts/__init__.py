"""Pictures of evidence as SVG without a script: aggregated, so that their size does not grow with the run. Decide nothing."""
