"""Stops and starts a service by commands of the user's: lists of arguments, never a shell line."""

from __future__ import annotations

from collections.abc import Sequence

from proofload.faults.driver import StepDriver
from proofload.faults.recipe import run_step


class CommandDriver(StepDriver):
    """Breaks by one program and mends by another. What they do is the user's word: only probes prove it."""

    name = "command"

    def __init__(self, stop: Sequence[str], start: Sequence[str]) -> None:
        super().__init__({"stop": (lambda: run_step(stop), lambda: run_step(start))})
