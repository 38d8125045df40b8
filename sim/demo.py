"""The demonstration: a gateway on loopback, simulated calls, and a check of every alert.  [IO]"""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console

from sim.caller import Gateway
from sim.clips import Library
from sim.files import load
from sim.own import own_gateway
from sim.play import Play, play_scenario

PICTURE_COLUMNS = 118


async def run(library: Library, console: Console, svg: Path | None = None, model: str | None = None) -> Play:
    """Play ``demo.toml`` against a gateway that is started for it and stopped afterwards.

    Args:
        library: voices for the calls.
        console: where the play is shown.
        svg: where to save a picture of the terminal.
        model: model of the gateway; None for its default.

    Raises:
        GatewayError, ClipError, FleetError: it could not be played, or the gateway did not stop cleanly.
    """
    console.print(f"{library}; starting a gateway …", highlight=False)
    async with own_gateway(*(["--model", model] if model else [])) as gateway:
        console.print(f"gateway: {gateway.url}, with its default settings", highlight=False)
        played = await play_scenario(load("demo"), library, Gateway(gateway.url), console)
    played.show(console)
    if svg is not None:
        _save_picture(played, svg)
    return played


def _save_picture(played: Play, svg: Path) -> None:
    """Save the final state of the terminal as SVG."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        picture = Console(record=True, file=nowhere, width=PICTURE_COLUMNS, force_terminal=True)
        picture.print("$ make demo", highlight=False)
        played.show(picture)
        picture.save_svg(str(svg), title="callscreen")
