"""The report for a pull request or a job summary: Markdown, with the counterexamples folded."""

from __future__ import annotations

import re

from proofload.judge.verdict import Outcome
from proofload.report import view
from proofload.report.result import RunResult

_SIGNS = {
    Outcome.PASS: "✅",
    Outcome.FAIL: "❌",
    Outcome.INCONCLUSIVE: "❔",
    Outcome.ERROR: "💥",
    Outcome.SKIPPED: "➖",
}
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~:@-])")
_MOST_CHARACTERS = 60_000
"""GitHub takes 65,536 in a comment."""


def to_markdown(result: RunResult) -> str:
    """Return the result as Markdown: counts, the table of verdicts, and what is behind those that are no PASS.

    What a target said is escaped: it can be no link, no mention, no picture and no markup.
    """
    target = f" · {plain(result.target)}" if result.target else ""
    parts = [f"### proofload{target}: {view.summary(result)}", ""]
    parts += [f"> {plain(note)}\n" for note in result.notes]
    parts += ["| | case | verdict | what was seen | took |", "|---|---|---|---|---:|"]
    parts += [
        f"| {_SIGNS[row.outcome]} | {plain(row.case)} | {row.outcome.name} "
        f"| **{plain(row.title)}**<br>{plain(row.says)} | {row.took} |"
        for row in view.rows(result)
    ]
    parts.append("")
    parts += [f"Diagnosis: {plain(one)}\n" for one in result.diagnoses]
    closing = [f"Evidence: {plain(result.bundle)}" + (f" · seed {result.seed}" if result.seed is not None else "")]
    room = _MOST_CHARACTERS - sum(map(len, parts))
    for block in view.blocks(result):
        told = _block(block)
        room -= len(told)
        if room < 0:
            closing.insert(0, "More than fits here: the rest stands in the report.\n")
            break
        parts.append(told)
    return "\n".join([*parts, *closing]) + "\n"


def plain(text: str) -> str:
    r"""Return text that Markdown shows as it is.

    >>> print(plain("a|b [x](http://y) <img> @all"))
    a\|b \[x\]\(http\://y\) &lt;img&gt; \@all
    """
    # A URL without a link text becomes a link by itself, and a mention calls somebody: an escaped colon or @ does not.
    return _html(_SPECIAL.sub(r"\\\1", view.safe(text)))


def _block(block: view.Block) -> str:
    fence = "```"
    text = "\n".join(block.lines)
    while fence in text:
        fence += "`"
    is_open = " open" if block.outcome is Outcome.FAIL else ""
    head = f"<details{is_open}><summary>{_SIGNS[block.outcome]} {_html(block.head)}</summary>"
    return f"{head}\n\n{fence}text\n{text}\n{fence}\n</details>\n"


def _html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
