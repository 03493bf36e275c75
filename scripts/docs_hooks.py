"""What MkDocs runs while it builds: pages that follow from the code, links out of docs/, pages that nobody listed."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from proofload.cli.main import app
from proofload.report.findings import meanings
from proofload.suite.catalogue import CATALOGUE, CORE

ROOT = Path(__file__).parent.parent
LOG = logging.getLogger("mkdocs.hooks.proofload")
_OUT = re.compile(r"\[([^\]]*)\]\((\.\./[^)\s#]*)\)")
_FAMILIES = {
    "audit": "Audit log",
    "case": "Any case",
    "cb": "Circuit breakers",
    "delivery": "Was the load delivered",
    "fault": "Faults",
    "http": "Answers",
    "int": "Controls that meet",
    "lat": "Latency",
    "lock": "Locks and money",
    "mon": "Metrics",
    "res": "Overload and resilience",
    "rl": "Rate limits",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from the code, so that they are never older than it."""
    for name, text in {"cli": cli_page(), "cases": cases_page(), "findings": findings_page()}.items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn a link to a file of the repository into its path; warn (an error under strict) where it is not there."""
    folder = (ROOT / "docs" / page.file.src_uri).parent

    def path(match: re.Match[str]) -> str:
        place = (folder / match[2]).resolve()
        if place.is_relative_to(ROOT / "docs"):
            return match[0]
        if not place.exists():
            LOG.warning("%s: %s leads nowhere", page.file.src_uri, match[2])
        name = place.relative_to(ROOT).as_posix()
        return f"`{name}`" if match[1].strip("`") in (name, place.name) else f"{match[1]} (`{name}`)"

    return _OUT.sub(path, markdown)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List pages that stand in no section under More, so that a new page is never lost."""
    nav: list[Any] = config.nav or []
    listed = set(_listed(nav))
    found = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    more = sorted(found - listed)
    if more:
        config.nav = [*nav, {"More": more}]
    return config


def _listed(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    for inner in nav.values() if isinstance(nav, Mapping) else nav if isinstance(nav, list) else ():
        yield from _listed(inner)


def cli_page() -> str:
    """Return the page of all commands with their options."""
    lines = ["# The command line", "", "Made from the program itself: `proofload COMMAND -h` says the same.", ""]
    for name, command in sorted(_commands(typer.main.get_command(app))):
        lines += [f"## proofload {name}", "", *(command.help or "").splitlines(), ""]
        lines += [command.epilog or "", "", "| argument or option | |", "|---|---|"]
        for parameter in command.params:
            if not getattr(parameter, "hidden", False):
                lines.append(f"| {_parameter(parameter)} | {_cell(getattr(parameter, 'help', '') or '')} |")
        lines.append("")
    return "\n".join(lines)


def _commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in vars(group)["commands"].items():
        if "commands" in vars(command):
            yield from _commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def _parameter(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar or parameter.name.upper()}`"
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    default = parameter.default
    shown = default not in (None, False, (), []) and not callable(default)
    return f"{names} (default `{default}`)" if shown else names


def cases_page() -> str:
    """Return the page of the catalogue."""
    lines = ["# Cases", "", f"{len(CATALOGUE)} cases; those with a star run when none is named.", ""]
    category = ""
    for case in sorted(CATALOGUE.values(), key=lambda one: list(type(one.category)).index(one.category)):
        if case.category != category:
            category = case.category
            lines += [f"## {category.capitalize()}", ""]
        star = " ★" if case.id in CORE else ""
        lines += [f"### {case.id}{star}", "", f"**{case.title}.** {case.text.purpose}", ""]
        rows = {
            "Priority": f"{case.priority}, phase {case.phase}", "Sends": case.text.sends,
            "Needs": case.requires.declare,
            "After": ", ".join(case.after), "PASS": case.text.passes_when, "Reading FAIL": case.text.read_fail,
            "Least evidence": case.text.least_evidence,
        }  # fmt: skip
        lines += ["| | |", "|---|---|", *(f"| {name} | {_cell(text)} |" for name, text in rows.items() if text), ""]
    return "\n".join(lines)


def findings_page() -> str:
    """Return the page of all findings, as `proofload explain` tells them."""
    lines = ["# Findings, one by one", "", "`proofload explain ID` says the same. Each id stays as it is.", ""]
    family = ""
    for rule, one in sorted(meanings().items(), key=lambda pair: (pair[0].split(".")[0], pair[0])):
        if rule.split(".")[0] != family:
            family = rule.split(".")[0]
            lines += [f"## {_FAMILIES.get(family, family)}", ""]
        lines += [f"### {rule}", "", one.means, ""]
        if one.never_fails:
            lines += [f"Never FAIL. INCONCLUSIVE where: {one.never_fails}", ""]
        if one.causes:
            lines += ["Likely causes:", "", *(f"- {cause}" for cause in one.causes), ""]
        lines += [f"What to do: {one.fix}", ""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
