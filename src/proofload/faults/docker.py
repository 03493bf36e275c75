"""Stops, pauses, kills or disconnects a container by the Docker command line client, or one that acts like it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from proofload.faults.driver import StepDriver
from proofload.faults.recipe import run_step

# `start` is no error for a container that runs; these two are, and then there is nothing left to mend.
_NOT_PAUSED = ("is not paused",)
_CONNECTED = ("already exists in network", "already connected")


class DockerDriver(StepDriver):
    """Breaks one container. `disconnect` is offered where a network is named."""

    name = "docker"

    def __init__(self, container: str, network: str | None = None, client: Sequence[str] = ("docker",)) -> None:
        def step(*words: str, already: Sequence[str] = ()) -> partial[dict[str, Any]]:
            return partial(run_step, (*client, *words), already)

        start = step("start", container)
        faults = {
            "stop": (step("stop", container), start),
            "kill": (step("kill", container), start),
            "pause": (step("pause", container), step("unpause", container, already=_NOT_PAUSED)),
        }
        if network is not None:
            faults["disconnect"] = (
                step("network", "disconnect", network, container),
                step("network", "connect", network, container, already=_CONNECTED),
            )
        super().__init__(faults)
