"""The report of a matrix: one object for JSON, and the files.  [IO]"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sim.matrix import page
from sim.matrix.figures import of_cell
from sim.matrix.legs import Played

WIRE = "Twilio Media Streams, G.711 µ-law at 8 kHz"


@dataclass(frozen=True, slots=True)
class Request:
    """The request."""

    manifest: str
    split: str | None
    seed: int
    noise: str
    settings: Mapping[str, Any]
    calls_a_cell: int


def of(played: Played, request: Request) -> dict[str, Any]:
    """Return the complete report; cells that were not started are left out."""
    cells = []
    for number, cell in enumerate(played.cells):
        legs = [leg for leg in played.legs if leg.cell == number]
        if legs:
            whole = len({leg.call for leg in legs}) == request.calls_a_cell
            cells.append({"name": cell.name, "line": cell.line, "partial": not whole, **asdict(cell), **of_cell(legs)})
    return {
        "partial": bool(played.problems),
        "problems": played.problems,
        "asked": asdict(request) | {"cells": len(played.cells)},
        "wire": WIRE,
        "models": played.models,
        "alert_p": played.alert_p,
        "calls_played": played.calls_done,
        "cells": cells,
        "legs": [asdict(leg) for leg in played.legs],
    }


def write(folder: Path, played: Played, request: Request) -> dict[str, Any]:
    """Write ``matrix.json`` and ``matrix.html`` into `folder`, which is created if necessary; return the report."""
    report = of(played, request)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "matrix.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (folder / "matrix.html").write_text(page.page(report, played), encoding="utf-8")
    return report
