"""A gateway of our own: a process on loopback, for as long as a play lasts.  [IO]"""

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
    """The gateway did not start, or did not stop as it should; the text says what it said last."""


class OwnGateway:
    """``python -m gateway serve`` on a free loopback port, with a journal that is thrown away."""

    def __init__(self, folder: Path, log: IO[str], arguments: tuple[str, ...], settings: Mapping[str, Any]) -> None:
        self._folder, self._log = folder, log
        self._arguments, self._settings = arguments, settings
        self._port = "0"
        self._process: asyncio.subprocess.Process | None = None
        self.url = ""
        """Its base address, once it was started; the same after a restart."""

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it. Raises GatewayError."""
        # The same for everybody, whatever this shell is set up for.
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
            start_new_session=True,  # Ctrl-C is for us alone: we still want to hear how its calls end
        )
        self.url = await self._listening(self._process)
        self._port = self.url.rpartition(":")[2]

    async def stop(self) -> None:
        """Send SIGTERM, and wait. Raises GatewayError when it does not end well."""
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
        """Stop it, and start it again so much later. Raises GatewayError."""
        await self.stop()
        await asyncio.sleep(takes_s)
        await self.start()

    async def kill(self) -> None:
        """Make sure that it is gone."""
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
    """Run a gateway for as long as the body runs.

    Args:
        arguments: further ones of ``serve``.
        settings: by their names.

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
