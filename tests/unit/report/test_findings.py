"""Every rule that a judge or a case can name has an entry that explains it, and every entry explains something."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import proofload
from proofload.report.findings import meanings

ROOT = Path(proofload.__file__).parent
RULE = re.compile(r"[a-z]+\.[a-z_0-9]*[a-z0-9]")
NO_RULES = re.compile(r"(policies|user|users|faults|operations|services)\..*|audit\.error")
"""What looks like a rule in the code and is a key path, or a fact's name."""


def rules() -> Iterator[tuple[str, str]]:
    for folder in ("judge", "cases"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
                if RULE.fullmatch(text) and not NO_RULES.fullmatch(text):
                    yield text, path.relative_to(ROOT.parent).as_posix()


def test_every_rule_is_explained() -> None:
    found = dict(rules())
    assert len(found) > 80, "the rules are collected from the code"
    missing = [
        f"{rule} (of {where}): add it to report/findings/{rule.split('.')[0]}.yaml"
        for rule, where in sorted(found.items())
        if rule not in meanings()
    ]
    assert missing == []


def test_entries_are_whole_and_read_as_sentences() -> None:
    for one in meanings().values():
        for text in (one.means, one.fix, *one.causes, *([one.never_fails] if one.never_fails else [])):
            assert text[0].isupper() or text.startswith(("proofload", "p90", "p99")), f"{one.rule}: {text}"
            assert text[-1] in ".?", f"{one.rule}: {text}"
            assert len(text) < 240, f"{one.rule}: {text}"
