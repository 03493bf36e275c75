"""Takes secrets out of what is written down: by the name of where they stand, and by the variable they came from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

MASK = "**********"

_SECRET_NAME = re.compile(
    r"authorization|cookie|passw|secret|token|api[-_]?key|credential|signature|private|session|bearer", re.IGNORECASE
)
_FIELD = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_.]*\}")
_SCHEMES = frozenset({"", "bearer", "basic", "token", MASK})
_IN_URL = re.compile(r"(?<=://)([^/@\s:]*):[^/@\s]+(?=@)")
_IN_TEXT = re.compile(
    r"""((?:authorization|cookie|passw\w*|secret|token|api[-_]?key|credential|signature)["']?\s*[=:]\s*["']?)([^&"'\s,}]+)""",
    re.IGNORECASE,
)
_SHORTEST = 4
"""A shorter secret would take every place in which its few signs happen to stand."""


def looks_secret(name: str) -> bool:
    """Return whether a header, key or variable of this name usually holds a secret.

    >>> looks_secret("X-Api-Key"), looks_secret("Accept")
    (True, False)
    """
    return _SECRET_NAME.search(name) is not None


def masked(content: Any, secrets: Iterable[str] = ()) -> Any:
    """Return free-form JSON-able content, such as headers or a body, without its secrets.

    Masked are: values under a secret-looking key, unless they are `${fields}` that a user fills in, and what
    `masked_text` masks. What is masked already stays as it is.

    >>> masked({"X-Api-Key": "k", "Authorization": "Bearer ${user.token}", "Accept": "*/*"})
    {'X-Api-Key': '**********', 'Authorization': 'Bearer ${user.token}', 'Accept': '*/*'}
    """
    known = tuple(secrets)
    if isinstance(content, Mapping):
        return {
            key: _hidden(value) if looks_secret(str(key)) else masked(value, known) for key, value in content.items()
        }
    if isinstance(content, list | tuple):
        return [masked(value, known) for value in content]
    return masked_text(content, known) if isinstance(content, str) else content


def masked_text(text: str, secrets: Iterable[str] = ()) -> str:
    """Return `text` without passwords in URLs, `password=...` and the like, and any of `secrets`.

    >>> masked_text("http://a:b@c/?token=d&page=2")
    'http://a:**********@c/?token=**********&page=2'
    """
    for secret in sorted((one for one in secrets if len(one) >= _SHORTEST), key=len, reverse=True):
        text = text.replace(secret, MASK)
    text = _IN_URL.sub(lambda found: f"{found[1]}:{MASK}", text)
    return _IN_TEXT.sub(lambda found: found[0] if _FIELD.fullmatch(found[2]) else found[1] + MASK, text)


def _hidden(value: Any) -> Any:
    """Return what may be shown of a value that stands under a secret-looking key."""
    if isinstance(value, Mapping):
        return {key: _hidden(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(inner) for inner in value]
    if value is None or isinstance(value, bool):
        return value
    bare = _FIELD.sub("", value).strip().lower() if isinstance(value, str) else str(value)
    return value if bare in _SCHEMES else MASK
