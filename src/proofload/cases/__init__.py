"""The catalogue's cases, a module for each category: what to drive and what to judge."""
