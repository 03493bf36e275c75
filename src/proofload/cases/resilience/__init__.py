"""TC-RES and its kin: what a target does beyond its capacity, and when a part of it dies. Sends by `Lab` alone."""

from proofload.cases.resilience.hanging import CASES as _HANGING
from proofload.cases.resilience.overload import CASES as _OVERLOAD

CASES = (*_OVERLOAD, *_HANGING)

__all__ = ["CASES"]
