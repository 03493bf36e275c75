"""One cluster for the tests of this folder: a head, a node with a clock of its own, a node of its own network."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest
from tests.integration.drive.cluster.raylets import Raylets

SKEW_S = 5_000
NAMESPACE = f"proofload{os.getpid()}"
HEAD, FAR = "10.213.77.1", "10.213.77.2"


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Raylets]:
    """Return a cluster of three nodes: two cores here, one elsewhere behind a link of its own, 5,000 s ahead."""
    if os.geteuid() != 0:
        pytest.skip("network and time namespaces need root")
    link = f"pl{os.getpid()}"
    ip("netns", "add", NAMESPACE)
    try:
        ip("link", "add", f"{link}a", "type", "veth", "peer", "name", f"{link}b", "netns", NAMESPACE)
        ip("addr", "add", f"{HEAD}/30", "dev", f"{link}a")
        ip("link", "set", f"{link}a", "up")
        for words in (f"addr add {FAR}/30 dev {link}b", f"link set {link}b up", "link set lo up"):
            ip("-n", NAMESPACE, *words.split())
        nodes = Raylets(HEAD)
        try:
            nodes.head(cpus=3)
            elsewhere = ["ip", "netns", "exec", NAMESPACE, "unshare", "--time", "--fork", "--monotonic", str(SKEW_S)]
            nodes.join(FAR, cpus=1, inside=elsewhere)
            yield nodes
        finally:
            nodes.close()
    finally:
        ip("netns", "del", NAMESPACE)
