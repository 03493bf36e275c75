"""Breaks something on a lease and mends it whatever happens; a module for each driver."""
