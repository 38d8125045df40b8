"""Console of the commands, and a display that changes in place on a terminal."""

from __future__ import annotations

import sys
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live

COLUMNS_OF_A_LOG = 120


def standard_output(columns: int = COLUMNS_OF_A_LOG) -> Console:
    """Return a console on standard output, `columns` wide unless that is a terminal."""
    return Console() if sys.stdout.isatty() else Console(width=columns)


class Display:
    """Shows something that changes in place, on a terminal; it disappears at the end. A context manager."""

    def __init__(self, console: Console, shown: RenderableType = "") -> None:
        self.console = console
        self.live = Live(shown, console=console, refresh_per_second=5, transient=True) if console.is_terminal else None
        """None without a terminal."""

    def __enter__(self) -> Self:
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self.live is not None:
            self.live.stop()
