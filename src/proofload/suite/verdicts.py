"""What follows from a sealed bundle: the evidence of its cases, and their verdicts. Sends nothing."""

from __future__ import annotations

from pathlib import Path

from proofload.cases.case import AnyCase
from proofload.core.errors import PlanError, Problem
from proofload.judge.evidence import Evidence
from proofload.judge.panel import verdict as verdict_of
from proofload.judge.verdict import Outcome, Verdict
from proofload.record.bundle import Bundle
from proofload.suite import case_record as files
from proofload.suite.case_record import CaseRecord
from proofload.suite.catalogue import CATALOGUE


def judge_bundle(path: Path) -> tuple[Verdict, ...]:
    """Return the verdicts that follow from a sealed bundle, in the order of its cases. Sends nothing."""
    evidence, records = evidence_in(Bundle(path))
    return tuple(verdict_on(CATALOGUE[case_id], evidence[case_id], records[case_id]) for case_id in evidence)


def evidence_in(bundle: Bundle) -> tuple[dict[str, Evidence], dict[str, CaseRecord]]:
    """Return what a bundle's verdicts rest on, and what driving left behind, by case in the order of its plan."""
    target, case_ids = files.load_plan(bundle)
    unknown = [case_id for case_id in case_ids if case_id not in CATALOGUE]
    if unknown:
        remedy = "name the file that holds it with --cases"
        raise PlanError(
            [Problem(str(bundle.path), f"the case {one}", "one of the catalogue", remedy) for one in unknown]
        )
    kept = {case_id: files.load_case(bundle, case_id) for case_id in case_ids}
    evidence: dict[str, Evidence] = {}
    for case_id in case_ids:
        history, record = kept[case_id]
        others = {one: evidence[one] for one in CATALOGUE[case_id].after if one in evidence}
        evidence[case_id] = files.to_evidence(case_id, target, history, record, others)
    return evidence, {case_id: record for case_id, (_, record) in kept.items()}


def verdict_on(case: AnyCase, evidence: Evidence, record: CaseRecord) -> Verdict:
    """Return the verdict of one case, from its evidence and from how driving it went."""
    if record.skipped:
        return Verdict(case.id, Outcome.SKIPPED, (), record.skipped)
    if record.broke:
        return Verdict(case.id, Outcome.ERROR, (), record.broke)
    if record.interrupted and not len(evidence.history):
        # It sent nothing: what its judge would say could only be about the cases that it follows.
        return Verdict(case.id, Outcome.INCONCLUSIVE, (), record.interrupted)
    verdict = verdict_of(case.id, case.findings, evidence)
    if record.interrupted and verdict.outcome is not Outcome.FAIL:
        return Verdict(case.id, Outcome.INCONCLUSIVE, verdict.findings, record.interrupted)
    return verdict
