"""A gateway started for a play: a process on loopback.  [IO]"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import IO, Any

STARTS_WITHIN_S = 30.0
STOPS_WITHIN_S = 30.0
_LISTENING = re.compile(r"callscreen listening on (\S+)")


class GatewayError(Exception):
    """The gateway did not start or stop correctly; the text has its last log lines."""


class OwnGateway:
    """``python -m gateway serve`` on a free loopback port, with a temporary journal."""

    def __init__(self, folder: Path, log: IO[str], arguments: tuple[str, ...], settings: Mapping[str, Any]) -> None:
        self._folder, self._log = folder, log
        self._arguments, self._settings = arguments, settings
        self._port = "0"
        self._process: asyncio.subprocess.Process | None = None
        self.url = ""
        """Its base address once it has started; a restart does not change it."""

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start the gateway. Raises GatewayError."""
        # Without settings from this shell, so that results do not depend on it.
        environ = {name: value for name, value in os.environ.items() if not name.startswith("CALLSCREEN_")}
        environ |= {
            f"CALLSCREEN_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
            for name, value in self._settings.items()
        }
        journal = ("--journal", str(self._folder / "journal.sqlite3"))
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "serve", "--port", self._port, *journal),
            *self._arguments,
            env=environ,
            stdout=asyncio.subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,  # it must not get our Ctrl-C: we still want its verdicts
        )
        self.url = await self._listening(self._process)
        self._port = self.url.rpartition(":")[2]

    async def stop(self) -> None:
        """Send SIGTERM, and wait. Raises GatewayError if it does not end with 0."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            code = await asyncio.wait_for(self._process.wait(), STOPS_WITHIN_S)
        except TimeoutError:
            raise GatewayError(
                f"the gateway did not stop within {STOPS_WITHIN_S:.0f} s of SIGTERM{self._last()}"
            ) from None
        if code != 0:
            raise GatewayError(f"the gateway ended with {code}{self._last()}")

    async def restart(self, takes_s: float) -> None:
        """Stop the gateway, and start it again after `takes_s` seconds. Raises GatewayError."""
        await self.stop()
        await asyncio.sleep(takes_s)
        await self.start()

    async def kill(self) -> None:
        """Kill the process if it still runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def _listening(self, process: asyncio.subprocess.Process) -> str:
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), STARTS_WITHIN_S)
        except TimeoutError:
            raise GatewayError(f"the gateway did not start within {STARTS_WITHIN_S:.0f} s{self._last()}") from None
        if (match := _LISTENING.search(line.decode())) is None:
            raise GatewayError(f"the gateway did not start{self._last()}")
        return match[1]

    def _last(self) -> str:
        self._log.seek(0)
        return "".join(f"\n  {line.rstrip()}" for line in self._log.readlines()[-10:])


@contextlib.asynccontextmanager
async def own_gateway(*arguments: str, settings: Mapping[str, Any] | None = None) -> AsyncIterator[OwnGateway]:
    """Run a gateway while the body runs.

    Args:
        arguments: further arguments of ``serve``.
        settings: settings by name.

    Raises:
        GatewayError: it does not start, or does not end with 0 after SIGTERM.
    """
    with (
        tempfile.TemporaryDirectory(prefix="callscreen-") as scratch,
        (Path(scratch) / "gateway.log").open("w+", encoding="utf-8") as log,
    ):
        gateway = OwnGateway(Path(scratch), log, arguments, settings or {})
        try:
            await gateway.start()
            yield gateway
            await gateway.stop()
        finally:
            await gateway.kill()
