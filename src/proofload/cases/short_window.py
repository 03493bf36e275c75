"""Sends within one window what must fall into one, though the window is short and others are sending."""

from __future__ import annotations

import contextlib
from contextlib import AbstractAsyncContextManager

from proofload.cases.context import CaseContext
from proofload.core.units import NS_PER_SECOND
from proofload.plan.policies import RateLimitPolicy

_SHORT_NS = 20 * NS_PER_SECOND


def in_time(run: CaseContext, policy: RateLimitPolicy) -> AbstractAsyncContextManager[None]:
    """Return a context in which nobody else sends, where the window is so short that sharing might outlast it."""
    return run.exclusive() if policy.window < _SHORT_NS else contextlib.nullcontext()
