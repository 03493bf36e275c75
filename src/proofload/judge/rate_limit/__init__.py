"""Judges a rate limit from outside, on intervals; never sends anything, never guesses a decision instant.

Build a `RateLimitContext` (policy, history, anchor, how exact things are), then ask the judges with the rows that each
is about.
"""

from proofload.judge.models.attempts import Slack
from proofload.judge.rate_limit.admission import judge_admission, judge_evasion, judge_isolation
from proofload.judge.rate_limit.conjunction import judge_untested
from proofload.judge.rate_limit.context import RateLimitContext
from proofload.judge.rate_limit.headers import judge_headers
from proofload.judge.rate_limit.identify import Identification, identify
from proofload.judge.rate_limit.separate import separated, separating_phase_ns, separating_schedule
from proofload.judge.rate_limit.surroundings import (
    judge_backend_hits,
    judge_exempt,
    judge_promised_reset,
    judge_rejection_speed,
    judge_store_down,
)

__all__ = [
    "Identification",
    "RateLimitContext",
    "Slack",
    "identify",
    "judge_admission",
    "judge_backend_hits",
    "judge_evasion",
    "judge_exempt",
    "judge_headers",
    "judge_isolation",
    "judge_promised_reset",
    "judge_rejection_speed",
    "judge_store_down",
    "judge_untested",
    "separated",
    "separating_phase_ns",
    "separating_schedule",
]
