"""Starts what the demo needs."""
