"""The id that follows a request through every service, log and metric."""

from __future__ import annotations

import os
import re

_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")


def request_id_from(offered: str | None) -> str:
    """Return the id that the client offers when it is short and harmless, else a fresh one.

    >>> request_id_from("run-7.exchange-12")
    'run-7.exchange-12'
    >>> len(request_id_from("two words"))
    32
    """
    if offered is not None and _SANE.fullmatch(offered):
        return offered
    return os.urandom(16).hex()
