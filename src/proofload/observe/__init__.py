"""Reads the target's own books: metrics, audit logs, Loki. Never judges what it reads."""
