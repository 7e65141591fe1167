"""Where the processor time of a test run goes: a plugin for pytest, which `make test-times` uses.

A process that a test started counts where it is waited for, so one that a file shares counts with the file's last test.
How long a test takes by the clock says what else the machine does; this does not.
"""

from __future__ import annotations

import resource
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping

import pytest

FILES, TESTS = 40, 40
_NAME = "processor seconds"
_SINCE = pytest.StashKey[float]()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Begin with what this process and those that it waited for have taken so far."""
    item.stash[_SINCE] = _taken()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note in the report of each phase what was taken since the one before: reports are all that xdist passes on."""
    report = yield
    now = _taken()
    report.user_properties.append((_NAME, now - item.stash[_SINCE]))
    item.stash[_SINCE] = now
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the files and the tests that took most."""
    spent = defaultdict[str, float](float)
    for report in _reports(terminalreporter):
        spent[report.nodeid] += sum(
            value for name, value in report.user_properties if isinstance(value, float) and name == _NAME
        )
    terminalreporter.section(f"{sum(spent.values()):.0f} seconds of processor time")
    for line in table(spent):
        terminalreporter.write_line(line)


def table(spent: Mapping[str, float]) -> Iterator[str]:
    """Yield a line for each of the files and each of the tests that took most, the longest first."""
    files, tests = defaultdict[str, float](float), defaultdict[str, int](int)
    for test, seconds in spent.items():
        file = test.partition("::")[0]
        files[file] += seconds
        tests[file] += 1
    for file, seconds in _longest(files)[:FILES]:
        yield f"{seconds:8.1f}  {file} ({tests[file]} tests)"
    yield ""
    for test, seconds in _longest(spent)[:TESTS]:
        yield f"{seconds:8.1f}  {test}"


def _longest(spent: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(spent.items(), key=lambda one: one[1], reverse=True)


def _taken() -> float:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, kinds))


def _reports(reporter: pytest.TerminalReporter) -> Iterable[pytest.TestReport]:
    return (one for some in reporter.stats.values() for one in some if isinstance(one, pytest.TestReport))
