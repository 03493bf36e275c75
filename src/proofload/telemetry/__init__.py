"""Writes the run's own metrics and annotations. Reads nothing of the target."""
