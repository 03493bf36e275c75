"""Drives load at a gateway, breaks what must be broken, reads its books and answers with evidence."""

__version__ = "0.1.0"
