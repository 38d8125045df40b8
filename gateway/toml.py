"""Read TOML in a time that is bounded by its length.  [S]"""

from __future__ import annotations

import re
import tomllib
from typing import Any

MAX_KEY_PARTS = 100
"""Parts of a dotted key. The time of `tomllib` grows with their square, or with their cube if a value follows."""
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")


def read_toml(text: str) -> dict[str, Any]:
    """Return what stands in `text`.

    Raises:
        ValueError: it is not TOML, or a line has a key of too many parts.
        RecursionError: it nests too deep.
    """
    for number, line in enumerate(text.splitlines(), start=1):
        if line.count(".") >= MAX_KEY_PARTS and _QUOTED.sub("", line).partition("#")[0].count(".") >= MAX_KEY_PARTS:
            raise ValueError(f"expected keys of at most {MAX_KEY_PARTS} parts (at line {number})")
    return tomllib.loads(text)
