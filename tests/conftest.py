"""For every test: one torch thread a worker, as two busy workers with two threads each wait for each other."""

import gc
import signal
from collections import Counter
from collections.abc import Generator

import pytest
import torch

from groundglass.core import sealed

torch.set_num_threads(1)
gc.disable()
# What a shell begins in the background ignores Ctrl-C, and tests of it would wait for nothing.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A seed is stretched by a function that is slow on purpose: a test of something else need not wait for it, hundreds of times.
# Here a short seed is used as it is, which changes the numbers that it gives and nothing else. Tests of the stretching, and of
# what a file or a command makes of a seed, ask for `stretched_seeds`; processes that a test begins stretch as ever.
_STRETCHED = sealed._stretched
sealed._stretched = lambda value: value  # type: ignore[assignment]


@pytest.fixture
def stretched_seeds(monkeypatch):
    """Seeds as users have them."""
    monkeypatch.setattr(sealed, "_stretched", _STRETCHED)


def test_of(item: pytest.Item) -> str:
    """Its name, without the case."""
    return item.nodeid.partition("[")[0]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test that is marked `one_in(n)`, `make test` runs each n-th case, and `make slow` the others. The first depends on the
    test's name: so every attack, say, is in some of the tests. One of fewer than n cases has one in `make test`.

    Ray's tests come first: they wait for most of a minute, while `make test` looks at the types."""
    counted = Counter(test_of(item) for item in items)
    cases: Counter[str] = Counter()
    for item in items:
        if (one_in := item.get_closest_marker("one_in")) is not None:
            test = test_of(item)
            if (cases[test] + len(test)) % min(one_in.args[0], counted[test]):
                item.add_marker(pytest.mark.slow)
            cases[test] += 1
    ray = {item.path for item in items if item.get_closest_marker("ray")}
    items.sort(key=lambda item: item.path not in ray)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None]:
    """The last line says what did not run, and why."""
    yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(session.config, "workerinput"):
        return
    skipped = [one.longrepr for one in reporter.stats.get("skipped", [])]
    why = Counter(str(reason[2]).removeprefix("Skipped: ") for reason in skipped if isinstance(reason, tuple))
    told = [f"{count} skipped ({reason})" for reason, count in why.most_common()]
    if session.config.option.markexpr == "not slow":
        told.append("the slow ones, which `make slow` runs")
    reporter.write_line(f"not run: {'; '.join(told)}" if told else "everything ran")


def pytest_collection_finish() -> None:
    """What was imported stays: the collector of cycles need not look through it again and again."""
    gc.freeze()
    gc.enable()


@pytest.fixture
def no_litter(tmp_path, monkeypatch):
    """An attack that fails keeps what it did in a temporary folder."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
