"""Write docs/images/report.png and live.png: a real run of the demo with a defect, its live page and its report.

Needs Debian's chromium and the development dependencies: `.venv/bin/python scripts/screenshot.py`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parent.parent / "docs" / "images"
RUN = ("TC-RL-001", "TC-RL-002", "TC-CB-001", "TC-CB-002", "TC-MON-001", "--defect", "rl.limit_plus_one")
LIVE_REQUESTS = 700
"""After so many the charts of the live page have something to show."""


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        command = [sys.executable, "-m", "proofload", "demo", *RUN, "--pace", "fast", "--ui", "--json", "--out", "runs"]
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        url = next(line for line in process.stderr if line.startswith("live page")).split()[-1]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1080, "height": 1000}, color_scheme="dark")
        _live(page, url)
        page.wait_for_url("**/bundle/report.html", timeout=180_000)
        out, _ = process.communicate(timeout=60)
        report = Path(folder) / json.loads(out)["bundle"] / "report.html"
        page = browser.new_page(viewport={"width": 1080, "height": 1560}, color_scheme="light")
        page.goto(report.as_uri())
        page.screenshot(path=IMAGES / "report.png")
        browser.close()


def _live(page: Page, url: str) -> None:
    page.goto(url)
    page.wait_for_function(
        "least => [...document.querySelectorAll('#cases td:last-child')]"
        ".reduce((sum, one) => sum + Number(one.textContent.replaceAll(',', '')), 0) > least",
        arg=LIVE_REQUESTS,
        timeout=120_000,
    )
    page.screenshot(path=IMAGES / "live.png")


main()
