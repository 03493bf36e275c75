"""Finds out from outside what a target has: its rate limit, its pages, its log-in. Asks politely, and never judges.

`discover` identifies the limiter; `draft` writes a target file. Both keep to `Manners` and to the target's ceilings.
"""

from proofload.discover.budget import Manners
from proofload.discover.limiter import Discovery, discover

__all__ = ["Discovery", "Manners", "discover"]
