"""A case of one's own, in twenty lines: what a user has must read the same to every session of that user.

proofload demo --cases examples/own_case.py
"""

from proofload.api import (
    CaseContext,
    Evidence,
    Finding,
    Target,
    broken,
    case,
    declared,
    delivered,
    held,
    polite_count,
    rows_of,
)


@case("SHOP-001", "A balance reads the same to every session", requires=declared("operations.balance"), takes="3s")
async def same_balance(run: CaseContext, target: Target) -> None:
    """Ten sessions of one user read the balance side by side, while nobody moves money."""
    (account,) = await run.accounts(1)
    each = polite_count(target, wanted=5)
    await run.run(run.crowd("reads", "balance", 10, each, accounts=[account], sources=run.sources(10)))


@same_balance.judge
def judge(evidence: Evidence, _target: Target) -> list[Finding]:
    """All bodies are one and the same."""
    reads = [one for one in evidence.history.exchanges(rows_of(evidence, "reads")) if one.status == 200]
    other = next((one for one in reads if one.body != reads[0].body), None)
    if other is not None:
        says = f"row {other.row} reads {other.body!r}, row {reads[0].row} reads {reads[0].body!r}"
        return [broken("shop.balance_differs", says, rows=(reads[0].row, other.row), look_at="the read path")]
    finding = held("shop.balance_differs", "every session read the same balance", examined=len(reads), needed=30)
    return delivered(evidence, [finding])
