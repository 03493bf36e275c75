"""Puts generators on the nodes of a Ray cluster; never decides what they send. Needs the extra `cluster`."""

from proofload.drive.distributed.cluster.nodes import RayNodes

__all__ = ["RayNodes"]
