"""Scales a workload to nothing, or restarts it, by kubectl."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from proofload.faults.driver import StepDriver
from proofload.faults.recipe import FaultError, Step, run, run_step


class KubernetesDriver(StepDriver):
    """Breaks one workload. `stop` is mended to the number of replicas that was read before it was applied."""

    name = "kubernetes"

    def __init__(self, workload: str, namespace: str = "default", client: Sequence[str] = ("kubectl",)) -> None:
        self._workload = workload
        self._client = (*client, "--namespace", namespace)
        stop = partial(self._step, "scale", workload, "--replicas=0")
        restart = partial(self._step, "rollout", "restart", workload)
        settled = partial(self._step, "rollout", "status", workload, "--timeout=55s")
        super().__init__({"stop": (stop, self._scale_back), "restart": (restart, settled)})

    def _step(self, *words: str) -> Step:
        return run_step((*self._client, *words))

    def _scale_back(self) -> Step:
        asking = self._step("get", self._workload, "--output=jsonpath={.spec.replicas}")
        status, printed = run(asking["command"], str(Path.cwd()))
        if status != 0 or not printed.isascii() or not printed.isdigit():
            raise FaultError(f"{self._workload}: its replicas can't be read: exit status {status}, {printed[-300:]!r}")
        if int(printed) == 0:
            raise FaultError(f"{self._workload}: got 0 replicas, expected a workload that runs; nothing was broken")
        return self._step("scale", self._workload, f"--replicas={int(printed)}")
