"""Text that others wrote, made fit to be shown: it can't move a cursor, hide itself, end a line or go on for ever."""

from __future__ import annotations


def visible(text: str, most: int = 2_000) -> str:
    r"""Return `text` in one line of at most `most` characters, with every sign that prints nothing as an escape.

    >>> visible("a\x1b[31mb\n\u202ec"), visible("abcdef", 4)
    ('a\\x1b[31mb\\n\\u202ec', 'abc…')
    """
    cut = text if len(text) <= most else text[: most - 1] + "…"
    if cut.isprintable():
        return cut
    return "".join(sign if sign.isprintable() else _escaped(sign) for sign in cut.replace("\t", " "))


def _escaped(sign: str) -> str:
    # Spaces of other widths are no trick; they only look like the space that they become.
    return " " if sign.isspace() and ord(sign) > 0x9F and sign not in "\u2028\u2029" else ascii(sign)[1:-1]
