"""Starts, watches, stops and breaks the processes of the system. It is no part of any request."""
