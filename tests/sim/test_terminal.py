"""A display on a terminal and elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from sim.terminal import Display, standard_output


def test_display_updates_in_place_on_a_terminal_and_disappears_at_the_end() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=40)
    with Display(console) as display:
        assert display.live is not None
        display.live.update("second", refresh=True)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "second" in shown
    assert shown.endswith("\x1b[2K"), "the line is erased"


def test_display_shows_nothing_without_a_terminal() -> None:
    console = Console(file=io.StringIO(), force_terminal=False)
    with Display(console, "first") as display:
        assert display.live is None
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == ""


def test_output_to_a_file_has_a_fixed_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert standard_output().width == 120
    assert standard_output(columns=160).width == 160
