"""The only module that makes a generator of random numbers; every stream has a name and follows from one seed."""

from __future__ import annotations

import hashlib
import random
import secrets

import numpy as np


def fresh_seed() -> int:
    """Return a new 32-bit seed, to be recorded with the run that uses it."""
    return secrets.randbits(32)


def stream(seed: int, *name: str | int) -> random.Random:
    """Return the random stream called `name` under `seed`: the same two give the same numbers everywhere.

    >>> stream(7, "arrivals", 0).random() == stream(7, "arrivals", 0).random()
    True
    >>> stream(7, "arrivals", 0).random() == stream(7, "arrivals", 1).random()
    False
    """
    return random.Random(_derive(seed, name))


def array_stream(seed: int, *name: str | int) -> np.random.Generator:
    """Return a NumPy generator for the stream called `name` under `seed`."""
    return np.random.default_rng(_derive(seed, name))


def _derive(seed: int, name: tuple[str | int, ...]) -> int:
    text = "\x1f".join([str(seed), *(str(part) for part in name)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
