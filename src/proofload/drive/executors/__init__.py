"""Executors: one for each kind of workload."""
