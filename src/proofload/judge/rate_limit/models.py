"""From a declared policy to the model that it promises, and the way to hold attempts against it."""

from __future__ import annotations

from proofload.judge.models import bucket_bounds, clock_window, fixed_window, sliding_log, sliding_window_counter
from proofload.judge.models.attempts import AttemptKind, Attempts, Examined, HeaderBounds
from proofload.judge.models.bucket_bounds import Bucket
from proofload.judge.models.fixed_window import FixedWindow
from proofload.judge.models.gcra import Gcra
from proofload.judge.models.leaky_bucket import LeakyBucket
from proofload.judge.models.sliding_log import SlidingLog
from proofload.judge.models.sliding_window_counter import SlidingWindowCounter
from proofload.judge.models.token_bucket import TokenBucket
from proofload.judge.rate_limit.context import RateLimitContext
from proofload.plan.policies import RateLimitPolicy

Model = FixedWindow | SlidingLog | SlidingWindowCounter | TokenBucket | Gcra | LeakyBucket


def model_of(policy: RateLimitPolicy, phase_ns: int = 0) -> Model:
    """Return the model, with its pure step, that a policy promises; `phase_ns` is an edge of windows on a clock."""
    limit, window = policy.limit, policy.window
    if policy.algorithm == "fixed_window":
        return FixedWindow(limit, window, phase_ns if policy.alignment == "clock" else None)
    if policy.algorithm == "sliding_log":
        return SlidingLog(limit, window)
    if policy.algorithm == "sliding_window_counter":
        return SlidingWindowCounter(limit, window, phase_ns)
    burst = policy.allowance
    if policy.algorithm == "token_bucket":
        return TokenBucket(limit, window, burst)
    return Gcra(limit, window, burst) if policy.algorithm == "gcra" else LeakyBucket(limit, window, burst)


def can_judge(scene: RateLimitContext) -> str:
    """Return why the policy can't be judged in this scene; empty where it can."""
    policy = scene.policy
    on_clock = policy.alignment == "clock" and policy.algorithm in ("fixed_window", "sliding_window_counter")
    if on_clock and scene.anchor is None:
        return "windows are aligned to the clock, and the run has no wall-clock anchor"
    return ""


def examine(scene: RateLimitContext, attempts: Attempts) -> Examined:
    """Return one key's attempts held against the promised model."""
    model, slack = model_of(scene.policy), scene.leeway
    if isinstance(model, SlidingLog):
        return sliding_log.examine(model, attempts, slack)
    if isinstance(model, SlidingWindowCounter):
        phase_ns, error_ns = _phase(scene, attempts)
        placed = SlidingWindowCounter(model.limit, model.window_ns, phase_ns)
        return sliding_window_counter.examine(placed, attempts, slack, error_ns, _first_window(scene, attempts))
    if isinstance(model, FixedWindow):
        if model.phase_ns is None:
            return fixed_window.examine_first_request(model, attempts, slack)
        phase_ns, error_ns = _phase(scene, attempts)
        return clock_window.examine_clock(
            FixedWindow(model.limit, model.window_ns, phase_ns), attempts, slack, error_ns
        )
    return bucket_bounds.examine(Bucket(model.window_ns / model.limit, model.burst), attempts, slack)


def tell(scene: RateLimitContext, attempts: Attempts) -> HeaderBounds:
    """Return what an honest limiter's headers can have said on each attempt."""
    model, slack = model_of(scene.policy), scene.leeway
    if isinstance(model, SlidingLog):
        return sliding_log.tell(model, attempts, slack)
    if isinstance(model, SlidingWindowCounter):
        phase_ns, error_ns = _phase(scene, attempts)
        placed = SlidingWindowCounter(model.limit, model.window_ns, phase_ns)
        return sliding_window_counter.tell(placed, attempts, slack, error_ns, _first_window(scene, attempts))
    if isinstance(model, FixedWindow):
        if model.phase_ns is None:
            return fixed_window.tell_first_request(model, attempts, slack)
        phase_ns, error_ns = _phase(scene, attempts)
        return clock_window.tell_clock(FixedWindow(model.limit, model.window_ns, phase_ns), attempts, slack, error_ns)
    return bucket_bounds.tell(Bucket(model.window_ns / model.limit, model.burst), attempts, slack)


def _first_window(scene: RateLimitContext, attempts: Attempts) -> int | None:
    """Return the number of the window that the key's own first request began, where that is how windows begin."""
    return 0 if scene.policy.alignment == "first_request" and attempts.fresh else None


def _phase(scene: RateLimitContext, attempts: Attempts) -> tuple[int, int]:
    """Return a monotonic instant at which a window begins, and how far it may be off."""
    if scene.policy.alignment == "clock" and scene.anchor is not None:
        whole = scene.anchor.wall_ns // scene.policy.window * scene.policy.window
        return scene.anchor.to_monotonic_ns(whole), scene.wall_error_ns
    # The key's first request began the first window, somewhere between the first byte sent and the first answer.
    sure = attempts.done_ns[attempts.kind != AttemptKind.UNSURE]
    first, latest = int(attempts.sent_ns[0]), int(sure.min()) if len(sure) else int(attempts.done_ns[0])
    if not attempts.fresh:
        # Its windows began before we looked: any phase is possible.
        return first, scene.policy.window // 2
    return (first + latest) // 2, (latest - first) // 2 + 1
