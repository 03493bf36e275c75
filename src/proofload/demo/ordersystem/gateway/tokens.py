"""Checks the tokens that the auth service signs."""

from __future__ import annotations

from dataclasses import dataclass

import jwt


class TokenError(Exception):
    """The token can't be accepted; `code` says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says."""

    user: str
    token_id: str


class TokenChecker:
    """Accepts HS256 tokens of our own issue that have not expired."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def check(self, authorization: bytes | None) -> Claims:
        """Return what the bearer token says, or raise TokenError."""
        if not authorization:
            raise TokenError("TOKEN_MISSING", "an Authorization header with a bearer token is required")
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not token:
            raise TokenError("TOKEN_INVALID", "the Authorization header holds no bearer token")
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=["HS256"],
                issuer="ordersystem",
                options={"require": ["exp", "sub", "jti"]},
            )
        except jwt.ExpiredSignatureError:
            raise TokenError("TOKEN_EXPIRED", "the token has expired; log in again") from None
        except jwt.InvalidTokenError:
            raise TokenError("TOKEN_INVALID", "the token is not one of ours") from None
        return Claims(str(claims["sub"]), str(claims["jti"]))
