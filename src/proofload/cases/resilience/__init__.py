"""TC-RES and its kin: what a target does beyond its capacity, and when a part of it dies. Sends by `Lab` alone."""

from proofload.cases.resilience.audit_under_overload import CASES as _RECORDED
from proofload.cases.resilience.crash_consistency import CASES as _KILLED
from proofload.cases.resilience.hung_service import CASES as _HANGING
from proofload.cases.resilience.overload import CASES as _OVERLOAD
from proofload.cases.resilience.resources import CASES as _RESOURCES

CASES = (*_OVERLOAD, *_RESOURCES, *_KILLED, *_HANGING, *_RECORDED)

__all__ = ["CASES"]
