"""`make prove`: run every section's simulators and write docs/proof.md.

A section is a module `tests/prove/section_<name>.py` with
    TITLE: str, TEXT: str,
    honest(count) yielding (what, histories, failed, abstained), `count` histories in all,
    rows(scale) yielding dicts, all with the same keys; `could be told` and `found` get a share beside them,
    and where it has them SMALL: str and small(scale) yielding dicts as well: small worlds, tried exhaustively.
Exit status 1 where an honest history was accused, or a FAIL has an honest explanation.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))

HEAD = """# Proof of the judges

Written by `make prove`; do not edit. Sound: an honest system is never accused. Sharp: what the evidence can tell is
told. Every history follows from its seed, so the figures repeat.
"""


def table(rows):
    rows = list(rows)
    if not rows:
        return []
    names = list(rows[0])
    share = "could be told" in names and "found" in names
    head = [*names, "share"] if share else names
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [str(row[name]) for name in names]
        if share:
            cells.append(f"{row['found'] / row['could be told']:.0%}" if row["could be told"] else "nothing to tell")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def section(name, honest_count, scale):
    """Return the lines of one section, and how many honest histories were accused."""
    module = importlib.import_module(f"tests.prove.{name}")
    began = time.perf_counter()
    lines = [f"## {module.TITLE}", "", module.TEXT, "", "### Honest systems", ""]
    honest = list(module.honest(honest_count))
    accused = sum(failed for _, _, failed, _ in honest)
    lines += table(
        {"honest": what, "histories": count, "FAIL": failed, "abstained": unsure}
        for what, count, failed, unsure in honest
    )
    lines += ["", f"{sum(count for _, count, _, _ in honest)} histories, {accused} accused.", "", "### Defects", ""]
    lines += table(module.rows(scale))
    if hasattr(module, "small"):
        small = list(module.small(scale))
        accused += sum(row["unsound"] for row in small)
        lines += ["", "### What intervals can tell", "", module.SMALL, "", *table(small)]
    print(
        f"{module.TITLE}: {accused} histories accused with no right to, {time.perf_counter() - began:.0f} s", flush=True
    )
    return [*lines, ""], accused


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--honest", type=int, default=10_000, help="honest histories for each section")
    parser.add_argument("--scale", type=int, default=70, help="worlds for each defect and sample size")
    parser.add_argument("--out", type=Path, default=HERE.parent.parent / "docs" / "proof.md")
    parser.add_argument("--only", default="", help="a section's name; the others keep out of the file")
    parser.add_argument("--jobs", type=int, default=2, help="sections that run at one time")
    asked = parser.parse_args()
    names = sorted(path.stem for path in HERE.glob(f"section_{asked.only or '*'}.py"))
    with ProcessPoolExecutor(max_workers=asked.jobs, mp_context=get_context("spawn")) as pool:
        tasks = [pool.submit(section, name, asked.honest, asked.scale) for name in names]
        parts = [task.result() for task in tasks]
    asked.out.parent.mkdir(exist_ok=True)
    asked.out.write_text("\n".join([HEAD, *(line for lines, _ in parts for line in lines)]))
    print(f"wrote {asked.out}")
    return 1 if any(accused for _, accused in parts) else 0


if __name__ == "__main__":
    sys.exit(main())
