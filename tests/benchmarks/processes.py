"""Processes that a benchmark starts, and what they cost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Server:
    """A server under measurement."""

    url: str
    process: psutil.Process

    def cpu_s(self) -> float:
        """CPU seconds used so far, user and system, all threads, and those of its workers."""
        times = [process.cpu_times() for process in (self.process, *self.process.children())]
        return float(sum(one.user + one.system for one in times))

    def scheduled_s(self) -> float:
        """Likewise to the nanosecond, where `cpu_s` counts in ticks of 10 ms; without threads that have ended."""
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9

    def rss_mb(self) -> float:
        """Resident memory in MB."""
        return float(self.process.memory_info().rss / 1e6)


@contextmanager
def served(*command: str, **environ: str) -> Iterator[Server]:
    """Run ``python COMMAND``, whose first line of output ends with its URL, until the body is done."""
    process = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | environ,
    )
    assert process.stdout is not None
    try:
        yield Server(process.stdout.readline().split()[-1], psutil.Process(process.pid))
    finally:
        process.terminate()
        process.communicate(timeout=30)


def gateway(folder: Path, **settings: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """The command and environment of a gateway for `served`."""
    environ = {f"CALLSCREEN_{name.upper()}": value for name, value in settings.items()}
    return ("-m", "gateway", "serve", "--port", "0", "--journal", str(folder / "bench.sqlite3")), environ
