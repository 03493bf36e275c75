"""Audit logs that hold the wrong things: secrets, false addresses, claims made too early."""

from __future__ import annotations

from fastapi import Request

from proofload.demo.ordersystem.auth.app import AuthEvents, Credentials
from proofload.demo.ordersystem.common.audit import AuditEvent
from proofload.demo.ordersystem.common.service import Caller
from proofload.demo.ordersystem.common.upstream import Headers
from proofload.demo.ordersystem.defects.defect import Defect, auth, both, gateway, user
from proofload.demo.ordersystem.gateway.app import GatewayApp
from proofload.demo.ordersystem.gateway.call import Answer, Call, refusal
from proofload.demo.ordersystem.gateway.limiter import Decision
from proofload.demo.ordersystem.gateway.stages import Authorising, Forwarding, Limiting
from proofload.demo.ordersystem.users.app import Money
from proofload.demo.ordersystem.users.ledger import Change, Entry


class LogsPasswords(AuthEvents):
    """Records what was tried, all of it."""

    def login_failed(self, request: Request, given: Credentials, reason: str) -> None:
        """Record the password with the failure."""
        details: dict[str, object] = {"reason": reason, "tried": given.password}
        self.audit.write(self.event(request, "login_failed", "failure", given.username, details))


class LogsTokens(AuthEvents):
    """Records the token that is logged out."""

    def logged_out(self, request: Request, username: str) -> None:
        """Record the token."""
        details: dict[str, object] = {"headers": {"authorization": request.headers.get("authorization", "")}}
        self.audit.write(self.event(request, "logout", "success", username, details))


class LogsTokensOfTheLimited(Limiting):
    """Records the headers of what it rejects."""

    def reject(self, call: Call, decision: Decision) -> Answer:
        """Record the token."""
        details: dict[str, object] = {
            "path": call.path,
            "limit": decision.limit,
            "authorization": call.headers.get(b"authorization", b"").decode("latin-1"),
        }
        self.audit.write(AuditEvent("rate_limited", "denied", None, call.client_ip, call.request_id, details))
        return refusal(call, 429, "RATE_LIMITED", "too many requests", decision.retry_after_s)


class QuotesTheToken(Authorising):
    """Says in the error what was wrong, word for word."""

    async def __call__(self, call: Call) -> Answer:
        """Put the token that was refused into the answer."""
        answer = await super().__call__(call)
        given = call.headers.get(b"authorization", b"").decode("latin-1")
        if answer.status == 401 and given:
            answer.body = refusal(call, 401, answer.code or "", f"not accepted: {given}").body
        return answer


class BelievesAnyId(GatewayApp):
    """Takes whatever id the client sends."""

    def request_id(self, offered: str | None) -> str:
        """Return what was offered, whatever it is."""
        return offered or super().request_id(None)


class HidesTheClient(Forwarding):
    """Lets services see the gateway as their client."""

    def headers_for(self, call: Call) -> Headers:
        """Send the gateway's own address."""
        own = b"127.0.0.1"
        return [(n, own if n == b"x-client-ip" else v) for n, v in super().headers_for(call)]


class RecordsBeforeTheOutcome(Money):
    """Puts a change on record and then tries to make it."""

    async def locked(self, caller: Caller, change: Change) -> Entry:
        """Claim success first."""
        balance_cents = await self.ledger.balance(caller.user) + change.amount_cents
        self.on_record(caller, Entry("txn_0", change.kind, change.amount_cents, balance_cents, None, ""))
        async with self.locks.hold(caller, change.kind, self.expires_s) as held:
            return await self.ledger.change(change, held.fence, self.hold_time)


class BusyLimiting(Limiting):
    """Leaves the paperwork for later when there is much to do; later never comes."""

    MANY = 8
    under_way = 0

    async def __call__(self, call: Call) -> Answer:
        """Count what is under way."""
        self.under_way += 1
        try:
            return await super().__call__(call)
        finally:
            self.under_way -= 1

    def reject(self, call: Call, decision: Decision) -> Answer:
        """Record only in quiet times."""
        if self.under_way >= self.MANY:
            return refusal(call, 429, "RATE_LIMITED", "too many requests", decision.retry_after_s)
        return super().reject(call, decision)


_AUDIT = "TC-AUDIT-001"
_CORRELATED = "TC-AUDIT-002"

DEFECTS = (
    Defect(
        "audit.password_logged",
        "The password of a failed login stands in the log.",
        "CWE-532; large services have found plain passwords in their logs more than once.",
        "A password that was sent stands in the audit log.",
        "TC-NEG-008",
        auth(events=LogsPasswords),
    ),
    Defect(
        "audit.token_logged",
        "Bearer tokens stand in the log.",
        "CWE-532: whole header sets are logged for debugging.",
        "A token that was sent stands in the audit log of a rejection or a logout.",
        "TC-NEG-008",
        both(auth(events=LogsTokens), gateway(limiting=LogsTokensOfTheLimited)),
    ),
    Defect(
        "audit.token_in_error",
        "The error repeats the token that was refused.",
        "CWE-209: messages made for the developer reach the client, its proxies and their logs.",
        "A worthless token that was sent stands in the body of the 401.",
        "TC-NEG-008",
        gateway(authorising=QuotesTheToken),
    ),
    Defect(
        "audit.request_id_trusted_blindly",
        "Any request id is kept, whatever it holds.",
        "Correlation headers copied without a look.",
        "X-Request-ID with blanks, markup or kilobytes comes back and stands in the log.",
        _CORRELATED,
        gateway(app=BelievesAnyId),
    ),
    Defect(
        "audit.wrong_ip",
        "Services record the gateway's address as the client's.",
        "Applications behind a proxy that read the peer's address.",
        "ip is 127.0.0.1 for clients at other addresses.",
        _AUDIT,
        gateway(forwarding=HidesTheClient),
    ),
    Defect(
        "audit.written_before_outcome",
        "The log says success before the outcome is known.",
        "Audit hooks that run before the transaction commits.",
        "balance_changed stands in the log for answers that are 409 or 503.",
        _CORRELATED,
        user(money=RecordsBeforeTheOutcome),
    ),
    Defect(
        "int.overload_skips_audit",
        "When much is under way, rejections are not recorded.",
        "Load shedding that begins with what nobody waits for.",
        "In a burst there are more 429s than rate_limited events.",
        "TC-INT-008",
        gateway(limiting=BusyLimiting),
    ),
)
