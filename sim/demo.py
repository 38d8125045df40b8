"""The demonstration: a gateway of our own on loopback, pretend calls against it, and a check of every alert.  [IO]"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

from rich.console import Console

from sim.caller import Gateway
from sim.clips import Library
from sim.play import Play, play_scenario
from sim.scenario import load

STARTS_WITHIN_S = 30.0
STOPS_WITHIN_S = 30.0
PICTURE_COLUMNS = 118
_LISTENING = re.compile(r"callscreen listening on (\S+)")


class DemoError(Exception):
    """The gateway did not start, or did not stop as it should; the text says what it said last."""


async def run(library: Library, console: Console, svg: Path | None = None, model: str | None = None) -> Play:
    """Play ``demo.toml`` against a gateway that is started for it and stopped after it.

    Args:
        library: voices to call with.
        console: where it is shown.
        svg: where to save a picture of the terminal.
        model: what the gateway judges with; by default its own choice.

    Raises:
        DemoError, ClipError, FleetError: it could not be played, or the gateway did not end well.
    """
    console.print(f"{library}; starting a gateway …", highlight=False)
    async with own_gateway(*(["--model", model] if model else [])) as url:
        console.print(f"gateway: {url}, with its default settings", highlight=False)
        played = await play_scenario(load("demo"), library, Gateway(url), console)
    played.show(console)
    if svg is not None:
        _save_picture(played, svg)
    return played


@contextlib.asynccontextmanager
async def own_gateway(*arguments: str) -> AsyncIterator[str]:
    """Run ``python -m gateway serve`` on a free loopback port, with a journal that is thrown away; yields its URL.

    Args:
        arguments: further ones of `serve`.

    Raises:
        DemoError: it does not start, or does not end with 0 after SIGTERM.
    """
    with tempfile.TemporaryDirectory(prefix="callscreen-") as scratch:
        # The same for everybody, whatever this shell is set up for.
        environ = {name: value for name, value in os.environ.items() if not name.startswith("CALLSCREEN_")}
        with (Path(scratch) / "gateway.log").open("w+", encoding="utf-8") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gateway", "serve", "--port", "0", "--journal", f"{scratch}/journal.sqlite3"),
                *arguments,
                env=environ,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
            try:
                yield await _url(process, log)
                await _stop(process, log)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()


async def _url(process: asyncio.subprocess.Process, log: IO[str]) -> str:
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), STARTS_WITHIN_S)
    except TimeoutError:
        raise DemoError(f"the gateway did not start within {STARTS_WITHIN_S:.0f} s{_last(log)}") from None
    if (match := _LISTENING.search(line.decode())) is None:
        raise DemoError(f"the gateway did not start{_last(log)}")
    return match[1]


async def _stop(process: asyncio.subprocess.Process, log: IO[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        code = await asyncio.wait_for(process.wait(), STOPS_WITHIN_S)
    except TimeoutError:
        raise DemoError(f"the gateway did not stop within {STOPS_WITHIN_S:.0f} s of SIGTERM{_last(log)}") from None
    if code != 0:
        raise DemoError(f"the gateway ended with {code}{_last(log)}")


def _last(log: IO[str]) -> str:
    log.seek(0)
    return "".join(f"\n  {line.rstrip()}" for line in log.readlines()[-10:])


def _save_picture(played: Play, svg: Path) -> None:
    """Draw what the terminal shows in the end."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        picture = Console(record=True, file=nowhere, width=PICTURE_COLUMNS, force_terminal=True)
        picture.print("$ make demo", highlight=False)
        played.show(picture)
        picture.save_svg(str(svg), title="callscreen")
