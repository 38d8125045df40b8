"""Argument types for `argparse`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

_Number = TypeVar("_Number", int, float)


def number(kind: Callable[[str], _Number], low: _Number, high: _Number, also: str = "") -> Callable[[str], _Number]:
    """Return an argument type: a number from `low` to `high`, inclusive.

    Args:
        also: other accepted values, for the error message, e.g. ``none or ``.
    """

    def read(text: str) -> _Number:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"expected {also}{low:g} to {high:g}, got {text}")
        return value

    read.__name__ = "number"  # argparse uses it in the message for text that is no number
    return read
