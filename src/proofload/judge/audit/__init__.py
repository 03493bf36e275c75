"""Judges an audit log: is every event there, once, whole, true and in time, and nothing that must not be."""

from proofload.judge.audit.expected import AuditEvidence, ExpectedEvent, Forgery, expect
from proofload.judge.audit.judge import judge_audit
from proofload.judge.audit.secrets import digests_of, secrets_in

__all__ = ["AuditEvidence", "ExpectedEvent", "Forgery", "digests_of", "expect", "judge_audit", "secrets_in"]
