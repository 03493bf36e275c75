"""The types of what happened, and their form on disk. Records decide nothing and send nothing."""
