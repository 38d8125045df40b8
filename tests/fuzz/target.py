"""A fuzz target: a parser, inputs for it, and what it promises of them."""

from __future__ import annotations

import base64
import gc
import json
import signal
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from tests.conftest import REPOSITORY
from tests.fuzz.mutations import Choice, Input

FINDINGS = Path(__file__).parent / "findings"
CPU_S = 0.25
"""For one input of 64 KiB a message: so long may one peer hold up all the other calls."""
TICKS = 5
"""In `CPU_S`. An input is interrupted at the tick after the last of them."""


class TooSlow(Exception):
    """An input took more CPU time than `CPU_S`."""


@dataclass(frozen=True)
class Target:
    """One parser."""

    name: str
    inputs: Choice[Input]
    play: Callable[[Input], None]
    """Has the parser take an input. It lets pass the errors that the parser promises; any other one is a finding."""
    slow: bool = False
    """Whether an input takes milliseconds: then a short run gives it a tenth of the others."""


@dataclass(frozen=True)
class Finding:
    """An input by which a promise was broken."""

    target: str
    input: Input
    why: str
    """The error, and where in our code it came up."""

    @property
    def size(self) -> int:
        """Of the input."""
        return sum(map(len, self.input))

    def save(self) -> Path:
        """Keep it, for `make test` to replay."""
        folder = FINDINGS / self.target
        folder.mkdir(parents=True, exist_ok=True)
        content = {"why": self.why, "input": [_packed(part) for part in self.input]}
        number = len(list(folder.glob("*.json"))) + 1
        path = folder / f"{number:02}.json"
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        return path


class CpuLimit:
    """Has inputs end after `CPU_S` of CPU time, while it is entered; a machine that is busy otherwise does not count.

    One timer ticks for all inputs, for setting one takes as long as some parsers take.
    """

    def __init__(self) -> None:
        self._ticks: int | None = None
        """Since the input began; None: there is none."""

    def __enter__(self) -> CpuLimit:
        self._before = signal.signal(signal.SIGVTALRM, self._tick)
        gc.disable()  # what it collects is ours, not the input's
        signal.setitimer(signal.ITIMER_VIRTUAL, CPU_S / TICKS, CPU_S / TICKS)
        return self

    def __exit__(self, *_error: object) -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, self._before)
        gc.enable()

    def check(self, target: Target, given: Input) -> None:
        """Have the parser take `given`, in time. Raises whatever breaks the promise."""
        self._ticks = 0
        try:
            target.play(given)
        finally:
            self._ticks = None

    def _tick(self, _number: int, _frame: FrameType | None) -> None:
        if self._ticks is None:
            return
        self._ticks += 1
        if self._ticks > TICKS:  # and again at each tick, should this one fall where it is ignored
            raise TooSlow(f"took more than {CPU_S} s of CPU")


def check(target: Target, given: Input) -> None:
    """Have the parser take one input; see `CpuLimit.check`."""
    with CpuLimit() as limit:
        limit.check(target, given)


def why(error: BaseException) -> str:
    """Return the error, and the innermost place of ours where it came up: of one fault always the same."""
    places = [
        f"{Path(frame.filename).relative_to(REPOSITORY)}:{frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(f"{REPOSITORY}/") and "/tests/fuzz/" not in frame.filename
    ]
    return f"{type(error).__name__} in {places[-1] if places else 'the target itself'}"


def findings() -> Iterator[tuple[Path, str, Input]]:
    """Return the kept ones: file, target's name, input."""
    for path in sorted(FINDINGS.glob("*/*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        yield path, path.parent.name, tuple(_unpacked(part) for part in content["input"])


def _packed(part: str | bytes) -> dict[str, Any]:
    """JSON for a part. A piece repeated over and over is written once, so that the file stays small."""
    whole = part if isinstance(part, str) else part.decode("latin-1")
    kind = "text" if isinstance(part, str) else "bytes"
    if len(whole) > 500:
        for size in range(1, 100):
            for start in range(200):
                piece = whole[start : start + size]
                count = 1
                while whole.startswith(piece, start + count * size):
                    count += 1
                if count * size > len(whole) // 2:
                    rest = whole[start + count * size :]
                    return {kind: [_shown(kind, whole[:start]), [_shown(kind, piece), count], _shown(kind, rest)]}
    return {kind: _shown(kind, whole)}


def _shown(kind: str, text: str) -> str:
    return text if kind == "text" else base64.b64encode(text.encode("latin-1")).decode()


def _unpacked(packed: dict[str, Any]) -> str | bytes:
    ((kind, content),) = packed.items()
    pieces = content if isinstance(content, list) else [content]
    counted = [piece if isinstance(piece, list) else (piece, 1) for piece in pieces]
    if kind == "text":
        return "".join(shown * count for shown, count in counted)
    return b"".join(base64.b64decode(shown) * count for shown, count in counted)
