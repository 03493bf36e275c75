"""What each finding means, one data file for each family: its meaning, likely causes in code, and what to do.

A new rule needs an entry in the file of its family (tests/unit/report/test_findings.py says which):

    rl.some_rule:
      means: One sentence, of what was seen to be broken.
      causes: [likely causes in the target's code]      # or, for what is never FAIL: never_fails: why it can't tell
      fix: What to do about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import yaml


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one finding means to a person."""

    rule: str
    means: str
    causes: tuple[str, ...]
    """Likely causes in the target's code; none where the rule is never FAIL."""
    never_fails: str
    """Why it is INCONCLUSIVE, of a rule that is never FAIL."""
    fix: str


@cache
def meanings() -> Mapping[str, Meaning]:
    """Return every finding's meaning by its id, family by family. Raises ValueError for an entry that is not whole."""
    found: dict[str, Meaning] = {}
    files = [one for one in resources.files(__name__).iterdir() if one.name.endswith(".yaml")]
    for file in sorted(files, key=lambda one: one.name):
        for rule, entry in yaml.safe_load(file.read_text(encoding="utf-8")).items():
            found[rule] = _meaning(rule, entry)
    return found


def _meaning(rule: str, entry: Mapping[str, object]) -> Meaning:
    causes, never = entry.get("causes", []), entry.get("never_fails", "")
    fine = set(entry) <= {"means", "causes", "never_fails", "fix"} and bool(causes) != bool(never)
    if not fine or not isinstance(causes, list) or not all((entry.get("means"), entry.get("fix"))):
        raise ValueError(f"{rule}: got {sorted(entry)}, expected means, fix, and one of causes and never_fails")
    return Meaning(rule, str(entry["means"]), tuple(map(str, causes)), str(never), str(entry["fix"]))
