"""Judges behaviour beyond capacity: finds the knee first, then what lies past it and the way back. Sends nothing."""

from proofload.judge.overload.capacity import Capacity, Step, find_capacity, steps_of
from proofload.judge.overload.hanging import Company, judge_company, judge_giving_up
from proofload.judge.overload.judge import Phases, judge_connections, judge_overload
from proofload.judge.overload.order_consistency import Books, judge_balances, judge_books
from proofload.judge.overload.resources import ReadingLabels, judge_idle_cpu, judge_memory, judge_open_files

__all__ = [
    "Books",
    "Capacity",
    "Company",
    "Phases",
    "ReadingLabels",
    "Step",
    "find_capacity",
    "judge_balances",
    "judge_books",
    "judge_company",
    "judge_connections",
    "judge_giving_up",
    "judge_idle_cpu",
    "judge_memory",
    "judge_open_files",
    "judge_overload",
    "steps_of",
]
