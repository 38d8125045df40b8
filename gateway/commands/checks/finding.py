"""The result of a check.  [S]"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    check: str
    """What was checked: a setting, or a part of the machine."""
    state: State
    """``note``: matters to some deployments only. ``error``: the gateway would not start, or that endpoint would not
    work."""
    detail: str
