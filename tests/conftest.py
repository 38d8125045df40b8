"""What every test lives under: no leaked tasks, no blocked event loop; both fail the test that commits them."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import structlog
from blockbuster import BlockBuster
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from gateway.logs import AUDIT

settings.register_profile("callscreen", deadline=None)  # how long an example takes depends on what else runs
settings.load_profile("callscreen")
REPOSITORY = Path(__file__).parent.parent
collect_ignore = ["example_project"]  # somebody else's: run by a test, as they would run it


@pytest.fixture(autouse=True)
def logging_manners() -> Iterator[None]:
    """Undo `gateway.logs.configure`, which commands call, after each test: later ones read standard output."""
    loggers = [logging.getLogger(name) for name in (None, AUDIT)]
    handlers, levels = loggers[0].handlers[:], [logger.level for logger in loggers]
    yield
    if structlog.is_configured():
        structlog.reset_defaults()
        loggers[0].handlers[:] = handlers
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@pytest.fixture(autouse=True)
def signal_manners() -> Iterator[None]:
    """Fail a test that leaves another handler of Ctrl-C behind: later ones could not press it any more.

    Shells start background jobs with SIGINT ignored, so the handler is set before each test, too.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    left = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert left is signal.default_int_handler, f"SIGINT is left to {left}"


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The development corpus; it is not part of the repository."""
    folder = Path(os.environ.get("DETECTION_CORPUS", REPOSITORY.parent / "shared" / "corpus"))
    if not (folder / "manifest.csv").exists():
        pytest.skip("the development corpus is not here (set DETECTION_CORPUS to its folder)")
    return folder


@pytest_asyncio.fixture
async def asyncio_manners() -> AsyncIterator[None]:
    """Fail a test that leaves tasks behind, or that lets our code block the event loop."""
    blockbuster = BlockBuster(scanned_modules=["gateway", "sim"])
    # Reading files that were just opened is how certificates, pages and tests work; what we look for is waiting.
    for name in list(blockbuster.functions):
        if name.startswith(("io.", "os.")):
            del blockbuster.functions[name]
    blockbuster.activate()
    before = asyncio.all_tasks()
    try:
        yield
        mine = asyncio.all_tasks() - before - {asyncio.current_task()}
        leaked = (await asyncio.wait(mine, timeout=5))[1] if mine else set()
    finally:
        blockbuster.deactivate()
    assert not leaked, f"tasks left behind: {[task.get_name() for task in leaked]}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put every asynchronous test under `asyncio_manners`."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.fixturenames.insert(0, "asyncio_manners")


class CallsTogether(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """With ``--numprocesses``: tests that place calls and watch the clock share a process, one after the other.

    So they have as much of the machine as they expect, and no two of them want the same port. Others share a process
    where they share a module, and so fixtures.
    """

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return "calls" if module.startswith(("tests/gateway/", "tests/sim/")) else module


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> CallsTogether:
    """Spread tests over processes as `CallsTogether` says."""
    return CallsTogether(config, log)
