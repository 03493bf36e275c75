"""Judges behaviour beyond capacity: finds the knee first, then what lies past it and the way back. Sends nothing."""

from proofload.judge.overload.capacity import Capacity, Step, find_capacity, steps_of
from proofload.judge.overload.hanging import Company, judge_company, judge_giving_up
from proofload.judge.overload.judging import Phases, judge_connections, judge_overload

__all__ = [
    "Capacity",
    "Company",
    "Phases",
    "Step",
    "find_capacity",
    "judge_company",
    "judge_connections",
    "judge_giving_up",
    "judge_overload",
    "steps_of",
]
