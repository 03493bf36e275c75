"""Runs simple users of Locust files on our engine, without Locust; never sends for a file that it can't run whole."""

from proofload.drive.locust.script import LocustScript

__all__ = ["LocustScript"]
