"""Pictures of evidence as SVG without a script: aggregated, so that they stay small however long the run was."""
