"""`--ui` stays for who sits at a terminal, until Ctrl-C; it holds no pipe and no CI job open."""

from __future__ import annotations

import pytest

from proofload.cli import served


class AtTerminal:
    def isatty(self) -> bool:
        return True


WAITED: list[str] = []


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    WAITED.clear()
    monkeypatch.setattr(served, "_wait_for_ctrl_c", lambda: WAITED.append("for Ctrl-C"))
    monkeypatch.setattr(served, "LivePage", FakePage)


class FakePage:
    url = "http://127.0.0.1:1/token/"
    stays = True
    waited_for: float | None = None

    @classmethod
    def start(cls) -> FakePage:
        return cls()

    def __enter__(self) -> FakePage:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def wait_for_followers(self, timeout_s: float) -> None:
        self.waited_for = timeout_s


def at_terminal(monkeypatch: pytest.MonkeyPatch, **environ: str) -> None:
    monkeypatch.setattr(served.sys, "stdin", AtTerminal())
    monkeypatch.delenv("CI", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(served.sys, "stderr", type("Err", (AtTerminal,), {"write": len, "flush": bool})())


def served_once(*, stays: bool = True) -> FakePage:
    with served.live_page(True) as page:
        assert isinstance(page, FakePage)
        page.stays = stays
    return page


def test_nobody_asked_for_it() -> None:
    with served.live_page(False) as page:
        assert page is None


def test_a_pipe_is_held_open_for_a_few_seconds_at_the_most(capsys: pytest.CaptureFixture[str]) -> None:
    page = served_once()
    assert page.waited_for is not None
    assert page.waited_for <= 3
    assert WAITED == []
    assert page.url in capsys.readouterr().err


def test_who_sits_at_a_terminal_reads_until_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served.typer, "echo", lambda *_, **__: None)
    at_terminal(monkeypatch)
    assert served_once().waited_for is None
    assert WAITED == ["for Ctrl-C"]


@pytest.mark.parametrize(("environ", "stays"), [({"CI": "true"}, True), ({}, False)])
def test_neither_a_ci_job_with_a_terminal_nor_an_interrupted_run_waits(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], stays: bool
) -> None:
    monkeypatch.setattr(served.typer, "echo", lambda *_, **__: None)
    at_terminal(monkeypatch, **environ)
    assert served_once(stays=stays).waited_for is not None
    assert WAITED == []
