"""The user service, as the order service sees it."""

from __future__ import annotations

import json
from typing import Any

from proofload.demo.ordersystem.common.errors import ServiceError
from proofload.demo.ordersystem.common.locks import Held
from proofload.demo.ordersystem.common.service import Caller
from proofload.demo.ordersystem.common.upstream import Upstream, UpstreamAnswer, UpstreamError


class UnknownOutcomeError(Exception):
    """The user service was asked and did not answer: the money may have been taken or not."""


class Payments:
    """Takes money for orders, and finds out what became of it."""

    def __init__(self, users: Upstream, gateway_token: str) -> None:
        self.users = users
        self._token = gateway_token.encode()

    async def debit(self, caller: Caller, amount_cents: int, order_id: str, held: Held) -> None:
        """Take the money once. Raise ServiceError when it was surely not taken, UnknownOutcomeError when unknown."""
        body = {"username": caller.user, "amount_cents": amount_cents, "reference": order_id}
        try:
            answer = await self.ask("/internal/v1/debits", body, caller, held)
        except UpstreamError as error:
            if error.was_sent:
                raise UnknownOutcomeError(str(error)) from error
            raise dependency_down() from error
        if answer.status == 200:
            return
        code, message = _code_and_message(answer)
        if answer.status == 409 and code == "INSUFFICIENT_FUNDS":
            raise ServiceError(409, code, message)
        if answer.status in (409, 503) and code == "LOCK_LOST":
            raise ServiceError(503, code, message, 1)
        if answer.status == 503 and code == "STORE_UNAVAILABLE":
            raise dependency_down()
        raise UnknownOutcomeError(f"the user service answered {answer.status} {code}")

    async def settle(self, username: str, order_id: str, request_id: str) -> bool:
        """Tell for good whether the money was taken. Raise UnknownOutcomeError while that can't be told."""
        caller = Caller(username, None, request_id)
        try:
            body = {"username": username, "reference": order_id}
            answer = await self.ask("/internal/v1/debits/settle", body, caller, None)
        except UpstreamError as error:
            raise UnknownOutcomeError(str(error)) from error
        if answer.status != 200:
            raise UnknownOutcomeError(f"the user service answered {answer.status}")
        return bool(json.loads(answer.body)["debited"])

    async def ask(self, path: str, body: dict[str, Any], caller: Caller, held: Held | None) -> UpstreamAnswer:
        """Send one request to the user service."""
        headers = [
            (b"content-type", b"application/json"),
            (b"x-request-id", caller.request_id.encode()),
            (b"x-gateway-token", self._token),
        ]
        if caller.ip:
            headers.append((b"x-client-ip", caller.ip.encode()))
        if held is not None:
            headers.append((b"x-lock-token", held.as_text().encode()))
        return await self.users.send("POST", path.encode(), headers, json.dumps(body).encode())


def dependency_down() -> ServiceError:
    """Return the refusal for an order that can't be paid at the moment."""
    return ServiceError(503, "DEPENDENCY_UNAVAILABLE", "orders can't be paid at the moment; try again", 1)


def _code_and_message(answer: UpstreamAnswer) -> tuple[str, str]:
    try:
        body = json.loads(answer.body)
        return str(body["code"]), str(body["message"])
    except (ValueError, KeyError, TypeError):
        return "", ""
