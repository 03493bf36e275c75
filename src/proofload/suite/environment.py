"""What this run ran on: versions and machine, as kept in a bundle. Names no user, host or path."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Any

import proofload

_TOLD_PACKAGES = ("httptools", "numpy", "polars", "pydantic", "uvloop")


def describe() -> dict[str, Any]:
    """Return tool, Python, platform and the versions of what the figures depend on."""
    return {
        "proofload": proofload.__version__,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cores": os.cpu_count() or 0,
        "packages": {name: metadata.version(name) for name in _TOLD_PACKAGES},
    }
