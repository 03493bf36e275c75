"""Takes the secrets out of recorded bodies by what they hold; the declared type may be wrong or missing."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus

from proofload.plan.masking import MASK, looks_secret, masked_text

Stand = Callable[[str], str]
"""The name of a secret -> the text that stands for its value in what is written."""

_NAME = re.compile(r"[^\s<>{}\"'`]*")
_FIELD = re.compile(r"\$\{env:\w+\}")
_MULTIPART = re.compile(r"^content-disposition:\s*form-data", re.IGNORECASE | re.MULTILINE)
_OPENING = re.compile(r"<(?P<name>[\w.:-]++)(?:\s[^<>]*+)?(?<!/)>")
_NAMED = re.compile(r"""(?<![\w.\[\]-])(?P<name>[\w.\[\]-]++)["']?[ \t]*+(?P<sign>[=:])[ \t]*+(?P<mark>["']?)""")
_INSIDE = {'"': re.compile(r'(?:\\.|[^"\\])*+', re.DOTALL), "'": re.compile(r"(?:\\.|[^'\\])*+", re.DOTALL)}
_BARE = {"=": re.compile(r"""[^\s&"'<]*+"""), ":": re.compile(r"""[^\r\n"'<]*+""")}
"""Behind `name=` goes a word. Behind `name:` the rest of the line, for a password may hold blanks."""


class UnreadableBodyError(ValueError):
    """A body that may hold a secret which can't be told from the rest."""


def redacted_json(content: Any, stand: Stand, secret: str = "") -> Any:
    """Return a JSON value with `stand` for what is under a secret-looking key, `secret`, however deep.

    Texts are searched too: JSON inside a text is read as JSON.
    """
    if isinstance(content, dict):
        return {
            key: redacted_json(inner, stand, secret or (key if looks_secret(key) else ""))
            for key, inner in content.items()
        }
    if isinstance(content, list):
        return [redacted_json(inner, stand, secret) for inner in content]
    if secret and content is not None and not isinstance(content, bool):
        return stand(secret)
    return redacted_value(content, stand) if isinstance(content, str) else content


def redacted_value(text: str, stand: Stand) -> str:
    """Return one value of a form or a JSON document without the secrets that are packed inside it.

    Prose is masked and asks for no variable: "token: see below" is most often no secret.
    """
    content = parse_container(text)
    return _prose(text, lambda _: MASK) if content is None else json.dumps(redacted_json(content, stand))


def redacted_text(text: str, stand: Stand) -> str:
    """Return a body of any type but JSON without its secrets. Raises UnreadableBodyError where they can't be told.

    >>> redacted_text("<a><Password>p q</Password></a>", lambda name: f"[{name}]")
    '<a><Password>[Password]</Password></a>'
    >>> redacted_text("a=1&token=x", lambda name: f"[{name}]")
    'a=1&token=[token]'
    """
    if is_multipart(text):
        raise UnreadableBodyError("parts of a form under another type")
    if is_form(text.strip()) and len(text.split()) == 1:
        return redacted_form(text.strip(), stand)
    lines = [parse_container(line) for line in text.splitlines() if line.strip()]
    if lines and None not in lines:
        return "\n".join(json.dumps(redacted_json(line, stand)) for line in lines) + "\n"
    if text.lstrip()[:1] in ("{", "[") and looks_secret(text):
        raise UnreadableBodyError("a body that looks like JSON, is none, and names a secret")
    return _prose(text, stand)


def redacted_form(text: str, stand: Stand) -> str:
    """Return URL-encoded pairs with `stand` for secrets. It's put together by hand, for a `${field}` must stay as is.

    >>> redacted_form("a=1&user[password]=p", lambda name: "${env:P}")
    'a=1&user%5Bpassword%5D=${env:P}'
    """
    return "&".join(
        f"{quote_plus(name)}=" + (stand(name) if looks_secret(name) else encoded(redacted_value(value, stand)))
        for name, value in parse_qsl(text, keep_blank_values=True)
    )


def encoded(text: str, *, plus: bool = True) -> str:
    """Return `text` URL-encoded, except for the variables in it.

    >>> encoded("a&${env:B} c")
    'a%26${env:B}+c'
    """
    encode: Callable[[str], str] = quote_plus if plus else lambda part: quote(part, safe="")
    ends = [0, *(end for found in _FIELD.finditer(text) for end in found.span()), len(text)]
    parts = [text[begin:end] for begin, end in pairwise(ends)]
    return "".join(part if i % 2 else encode(part) for i, part in enumerate(parts))


def is_form(text: str) -> bool:
    """Return whether URL-encoded pairs can be read from `text`: each with a name that is one.

    >>> is_form("a=1&b=2 3"), is_form("<a>x</a>"), is_form('{"a": "b=c"')
    (True, False, False)
    """
    return all(_NAME.fullmatch(pair.partition("=")[0]) for pair in text.split("&")) and "=" in text


def is_multipart(text: str) -> bool:
    """Return whether a body is made of a form's parts, whatever its declared type."""
    return _MULTIPART.search(text) is not None


def parse_container(text: str) -> Any:
    """Return the object or list that `text` is as JSON, or None.

    >>> parse_container('{"a": 1}'), parse_container("12"), parse_container("{")
    ({'a': 1}, None, None)
    """
    if text.lstrip("\ufeff \t\r\n")[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text.lstrip("\ufeff"))
    except (ValueError, RecursionError):
        return None


def is_plain_json(content: Any) -> bool:
    """Return whether every JSON library would write `content` as it is: no NaN, no half of a surrogate pair."""
    if isinstance(content, float):
        return math.isfinite(content)
    if isinstance(content, dict):
        return all(is_plain_json(part) for pair in content.items() for part in pair)
    if isinstance(content, list):
        return all(is_plain_json(inner) for inner in content)
    return not isinstance(content, str) or not any("\ud800" <= sign <= "\udfff" for sign in content)


def _prose(text: str, stand: Stand) -> str:
    """Return text without the secrets in elements, attributes, and behind `name=` or `name:`."""
    done: list[str] = []
    at = 0
    for begin, end, name in sorted([*_in_elements(text), *_behind_names(text)]):
        if begin >= at:
            # What is put in is not masked in its turn.
            done += [masked_text(text[at:begin]), stand(name)]
        at = max(at, end)
    return "".join([*done, masked_text(text[at:])])


def _in_elements(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield (begin, end, name) of what is inside XML elements with secret-looking names."""
    at = 0
    for opening in _OPENING.finditer(text):
        if opening.start() >= at and looks_secret(opening["name"]):
            closing = text.find(f"</{opening['name']}", opening.end())
            at = len(text) if closing < 0 else closing
            if at > opening.end():
                yield opening.end(), at, opening["name"].rpartition(":")[2]


def _behind_names(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield (begin, end, name) of the values behind secret-looking names; inside of one no further is looked for."""
    at = 0
    for found in _NAMED.finditer(text):
        if found.start() >= at and looks_secret(found["name"]):
            value = (_INSIDE[found["mark"]] if found["mark"] else _BARE[found["sign"]]).match(text, found.end())
            at = value.end() if value else found.end()
            if text[found.end() : at].strip():
                yield found.end(), at, found["name"]
