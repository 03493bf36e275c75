"""The plugin that repeats failed tests, on suites made for the purpose: exit status, closing line, what is told."""

import os
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
FLAKY = """
import pathlib
def test_{name}():
    seen = pathlib.Path(__file__).with_name("{name}.seen")
    if not seen.exists():
        seen.touch()
        assert seen is None, "not the first time"
"""
BROKEN = "def test_broken():\n    assert 1 == 2\n"
SOUND = "def test_sound():\n    pass\n"


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    # The suite that this test belongs to may itself run on a worker.
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:
        monkeypatch.delenv(name)
    # Importing every plugin that is installed takes longer than all else here.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini("[pytest]\nmarkers = alone\n")
    return pytester


def run(suite: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return suite.runpytest_subprocess(
        "-p", "xdist.plugin", "-p", "tests.plugins.rerun", "--flaky", "out/flaky.txt", *arguments
    )


def noted(suite: pytest.Pytester) -> list[str]:
    path = suite.path / "out/flaky.txt"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("beside", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_a_test_that_passes_the_second_time_is_flaky_and_green(suite: pytest.Pytester, beside: tuple[str, ...]) -> None:
    suite.makepyfile(test_f=FLAKY.format(name="now_and_then"), test_s=SOUND)
    ran = run(suite, *beside)
    assert ran.ret == pytest.ExitCode.OK
    ran.assert_outcomes(passed=2)
    assert ran.outlines[-1].split(" in ")[0].strip("= ") == "2 passed, 1 flaky"
    ran.stdout.fnmatch_lines(["FLAKY test_f.py::test_now_and_then - test_f.py:6: AssertionError: not the first time*"])
    (line,) = noted(suite)
    assert line.startswith("test_f.py::test_now_and_then - ")


@pytest.mark.parametrize("beside", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_a_test_that_fails_twice_is_red(suite: pytest.Pytester, beside: tuple[str, ...]) -> None:
    suite.makepyfile(test_b=BROKEN, test_f=FLAKY.format(name="f"), test_s=SOUND)
    ran = run(suite, *beside)
    assert ran.ret == pytest.ExitCode.TESTS_FAILED
    ran.assert_outcomes(passed=2, failed=1)
    ran.stdout.fnmatch_lines(["FAILED TWICE test_b.py::test_broken - test_b.py:2: *assert 1 == 2*"])
    assert len(noted(suite)) == 1


def test_four_flaky_tests_are_red(suite: pytest.Pytester) -> None:
    suite.makepyfile(**{f"test_{name}": FLAKY.format(name=name) for name in "abcd"})
    ran = run(suite)
    assert ran.ret == pytest.ExitCode.TESTS_FAILED
    ran.assert_outcomes(failed=4)
    ran.stdout.fnmatch_lines(["more than 3 flaky tests: they count as failed"])
    assert len(noted(suite)) == 4


def test_the_flaky_tests_of_both_parts_count_together(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        **{f"test_{name}": FLAKY.format(name=name) for name in "abc"},
        test_d="import pytest\npytestmark = pytest.mark.alone\n" + FLAKY.format(name="d"),
    )
    first = run(suite, "--part", "beside")
    assert first.ret == pytest.ExitCode.OK
    first.assert_outcomes(passed=3, deselected=1)
    second = run(suite, "--part", "alone")
    assert second.ret == pytest.ExitCode.TESTS_FAILED
    second.assert_outcomes(failed=1, deselected=3)
    assert len(noted(suite)) == 4


def test_a_fixture_that_fails_once_is_flaky_and_one_that_fails_at_the_end_twice_is_red(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        test_f="import pytest, pathlib\n"
        "@pytest.fixture\n"
        "def server():\n"
        "    seen = pathlib.Path(__file__).with_name('seen')\n"
        "    if not seen.exists():\n"
        "        seen.touch()\n"
        "        raise OSError('address in use')\n"
        "def test_f(server): pass\n",
        test_t="import pytest\n@pytest.fixture\ndef end():\n    yield\n    assert False\ndef test_t(end): pass\n",
    )
    ran = run(suite)
    assert ran.ret == pytest.ExitCode.TESTS_FAILED
    ran.assert_outcomes(passed=2, errors=1)
    ran.stdout.fnmatch_lines(["FAILED TWICE test_t.py::test_t*", "FLAKY test_f.py::test_f - *OSError: address in use"])


@pytest.mark.parametrize(
    ("files", "arguments", "status"),
    [
        ({"test_f": FLAKY.format(name="f"), "test_x": "import nothing_of_this_name"}, (), 2),
        ({"test_f": FLAKY.format(name="f"), "test_x": "import nothing_of_this_name"}, ("-n", "2"), 1),
        ({"test_f": FLAKY.format(name="f")}, ("-x",), 1),
        ({"test_f": FLAKY.format(name="f") + "def test_last():\n    raise KeyboardInterrupt\n"}, (), 2),
        ({"test_f": FLAKY.format(name="f") + "def test_end():\n    import pytest\n    pytest.exit('no', 7)\n"}, (), 7),
    ],
    ids=["collection", "collection on workers", "stopped", "interrupted", "exit"],
)
def test_what_did_not_run_to_its_end_repeats_nothing(
    suite: pytest.Pytester, files: dict[str, str], arguments: tuple[str, ...], status: int
) -> None:
    suite.makepyfile(**files)
    ran = run(suite, *arguments)
    assert ran.ret == status
    ran.stdout.no_fnmatch_line("*once more, alone*")
    assert not noted(suite)


def test_a_test_that_kills_its_process_every_time_is_red_and_the_rest_is_told(suite: pytest.Pytester) -> None:
    suite.makepyfile(test_k="import os\ndef test_k():\n    os._exit(3)\n", test_s=SOUND)
    ran = run(suite, "-n", "2")
    assert ran.ret == pytest.ExitCode.TESTS_FAILED
    ran.assert_outcomes(passed=1, failed=1)
    ran.stdout.fnmatch_lines(["FAILED TWICE test_k.py::test_k - no result"])


def test_a_broken_suite_is_not_run_twice(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        test_b="import pytest\n@pytest.mark.parametrize('n', range(11))\ndef test_b(n):\n    assert n < 0\n"
    )
    ran = run(suite)
    assert ran.ret == pytest.ExitCode.TESTS_FAILED
    ran.assert_outcomes(failed=11)
    ran.stdout.fnmatch_lines(["11 tests failed: too many to run each once more"])


def test_the_slowest_files_are_listed_slowest_first(suite: pytest.Pytester) -> None:
    suite.makeconftest(
        "import pytest\n"
        "@pytest.hookimpl(tryfirst=True)\n"
        "def pytest_runtest_logreport(report):\n"
        "    report.duration = int(report.nodeid[5:7])\n"
    )
    suite.makepyfile(**{f"test_{number:02}": SOUND for number in range(17)})
    ran = run(suite)
    assert ran.ret == pytest.ExitCode.OK
    listed = [line.split()[-1] for line in ran.outlines if line.endswith(".py") and " s  " in line]
    assert listed == [f"test_{number:02}.py" for number in range(16, 1, -1)]
    ran.stdout.fnmatch_lines(["* 48.0 s  test_16.py"])
    assert ran.outlines[-1].split(" in ")[0].strip("= ") == "17 passed"


def test_nothing_chosen_stays_nothing_chosen(suite: pytest.Pytester) -> None:
    suite.makepyfile(test_s=SOUND)
    assert run(suite, "--part", "alone").ret == pytest.ExitCode.NO_TESTS_COLLECTED
