"""One of each gateway for the tests of this folder, and a way to run proofload on a preset."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import resources
from pathlib import Path

import pytest
from tests.e2e.cli import Result, decided
from tests.integration.gateways import servers

PRESETS = resources.files("proofload.plan.presets")
Prove = Callable[..., Result]


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Run every gateway; yield their addresses by name."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(start(tmp_path_factory.mktemp(name))) for name, start in servers.GATEWAYS.items()
        }


@pytest.fixture
def prove(addresses: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prove:
    """Return a function that runs cases on a gateway as its preset declares it, with some texts replaced."""

    def run(name: str, *cases: str, changes: dict[str, str] | None = None) -> Result:
        monkeypatch.setenv(f"{name.upper()}_ADDRESS", addresses[name])
        text = (PRESETS / f"{name}.yaml").read_text(encoding="utf-8")
        for old, new in {**servers.DIFFERS.get(name, {}), **(changes or {})}.items():
            assert text.count(old) == 1, f"{name}.yaml: {old!r}"
            text = text.replace(old, new)
        (tmp_path / "proofload.yaml").write_text(text, encoding="utf-8")
        return decided("run", *cases, "--json", "--quiet", of=cases or ("TC-RL-001",), cwd=tmp_path)

    return run
