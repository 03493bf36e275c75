"""Errors that a client sees: a status, a stable code, a sentence; never a traceback."""

from __future__ import annotations

import json

from proofload.demo.ordersystem.common import renaming

ERROR_CODE_HEADER = "x-error-code"
"""Services repeat the code of an error here, so that the gateway need not read bodies."""


class ServiceError(Exception):
    """A refusal with a status and a code that clients can rely on."""

    def __init__(self, status: int, code: str, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


class StoreDownError(Exception):
    """Redis can't be reached, or did not answer in time."""


def error_body(code: str, message: str, request_id: str) -> bytes:
    """Return the JSON body that all errors of the system have."""
    return json.dumps({"code": renaming.code(code), "message": message, "request_id": request_id}).encode()
