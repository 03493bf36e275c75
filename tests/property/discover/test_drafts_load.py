"""Whatever a visit finds, the drafted target file can be read, and declares what was found."""

from hypothesis import given, settings
from hypothesis import strategies as st

from proofload.discover.draft import draft
from proofload.discover.limiter import Discovery, applies_to
from proofload.discover.policy_text import comment, scalar
from proofload.discover.survey import Found, RequestCounter
from proofload.plan.operation import Operation
from proofload.plan.policies import RateLimitHeaders, RateLimitPolicy
from proofload.plan.reader import parse_target
from proofload.plan.target import Target, Users

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
SEGMENTS = st.text(st.sampled_from("abzA09-_.~:@!'()*,;=+[]%&|"), max_size=8)
PATHS = st.lists(SEGMENTS, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
TEXTS = st.text(max_size=60)
UNITS = ["epoch_seconds", "epoch_milliseconds", "delta_seconds", "http_date", "iso8601", "auto"]
HEADERS = st.builds(
    RateLimitHeaders,
    limit=st.sampled_from([None, "RateLimit-Limit"]),
    reset_unit=st.sampled_from(UNITS),
    ietf=st.booleans(),
)


@st.composite
def policies(draw, probe, path):
    algorithm = draw(
        st.sampled_from(
            ["fixed_window", "sliding_log", "sliding_window_counter", "token_bucket", "gcra", "leaky_bucket"]
        )
    )
    is_bucket = algorithm in ("token_bucket", "gcra", "leaky_bucket")
    aligned = algorithm in ("fixed_window", "sliding_window_counter") and draw(st.booleans())
    return RateLimitPolicy.model_validate(
        {
            "name": draw(TEXTS),
            "algorithm": algorithm,
            "alignment": "clock" if aligned else "first_request",
            "limit": draw(st.integers(1, 1_000_000)),
            "window": f"{draw(st.integers(10_000_000, 10**13))}ns",
            "burst": draw(st.none() | st.integers(0, 1_000)) if is_bucket else None,
            "applies_to": applies_to(path, is_wide=draw(st.booleans())),
            "exempt": draw(st.lists(st.sampled_from(["/health", "/metrics"]).filter(lambda one: one != path))),
            "probe": probe,
            "headers": draw(HEADERS),
        }
    )


@st.composite
def visits(draw):
    name, path = draw(NAMES), draw(PATHS)
    operations = {name: Operation(name=name, path=path)}
    users = None
    if draw(st.booleans()) and name != "login":
        users = Users(login="login", token=draw(NAMES))
        operations["login"] = Operation.model_validate(
            {"name": "login", "method": "POST", "path": "/login", "json": {}}
        )
    target = Target.model_validate(
        {"version": 1, "name": "a target", "address": "http://127.0.0.1:8080", "operations": {name: {"path": path}}}
    )
    target = target.model_copy(update={"operations": operations, "users": users})
    found = Found(target, probe=name, left_out=draw(st.lists(TEXTS, max_size=15)), metrics=draw(PATHS))
    if draw(st.booleans()):
        labels = {"route": draw(NAMES), "method": draw(NAMES), "status": draw(NAMES)}
        found.counter = RequestCounter("/metrics", draw(NAMES), labels, {draw(NAMES): draw(NAMES)})
    notes = tuple(draw(st.lists(TEXTS, max_size=3)))
    policy = draw(st.none() | policies(name, path))
    limit = Discovery(policy, ("a model", draw(TEXTS)) if policy else (), notes, 1, 1, draw(TEXTS))
    return found, draw(st.sampled_from([limit, None]))


@settings(max_examples=120, deadline=None)
@given(visits())
def test_every_draft_can_be_read(visit):
    """C1: a limit on a route of one segment made a file that was refused, after twenty seconds of asking."""
    found, limit = visit
    read = parse_target(draft(found, limit), "proofload.yaml", {})
    assert {name: one.path for name, one in read.operations.items()} == {
        name: one.path for name, one in found.target.operations.items()
    }
    if limit is not None and limit.policy is not None:
        assert read.policies.rate_limit == (limit.policy,)
    else:
        assert read.policies.rate_limit == ()


@given(PATHS, st.booleans())
def test_the_path_that_met_a_limit_is_covered_by_it(path, is_wide):
    policy = RateLimitPolicy(limit=1, window="1s", probe="x", applies_to=applies_to(path, is_wide=is_wide))
    assert policy.covers(path)


@given(TEXTS)
def test_no_text_ends_its_line(text):
    assert len(comment(text).splitlines()) == 1
    assert len(scalar(text).splitlines()) == 1
