"""A long run that is stopped goes on where it was: no input is given twice, none is left out."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz import campaign
from tests.fuzz.campaign import Campaign
from tests.fuzz.runner import fuzz
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

NAMES = ["feedback", "request-line"]
BATCH, INPUTS = 100, 150


class AtOnce(Executor):
    """Runs here what it is given, and remembers which batches that were."""

    def __init__(self) -> None:
        self.given: list[tuple[str, int, str]] = []

    def submit(self, fn: Callable[..., Any], /, *arguments: Any, **_options: Any) -> Future[Any]:
        """Run it."""
        self.given.append(arguments[:3])
        done: Future[Any] = Future()
        done.set_result(fn(*arguments))
        return done


def run(state: Path, batches: int) -> tuple[AtOnce, Campaign]:
    """Go on with `state` for so many batches."""
    pool, going = AtOnce(), Campaign.begin(7, state)
    for number, _ in enumerate(going.run(NAMES, INPUTS, 1e9, pool, 1), 1):
        going.stopping = number == batches
    going.save(state)
    return pool, going


def test_what_is_stopped_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "BATCH", BATCH)
    whole, _ = run(tmp_path / "whole.json", 100)
    first, _ = run(tmp_path / "state.json", 1)
    then, going = run(tmp_path / "state.json", 100)
    assert len(first.given) == 1
    assert first.given + then.given == whole.given
    assert len({seed for _, _, seed in whole.given}) == len(whole.given) == 4
    assert {name: progress.inputs for name, progress in going.targets.items()} == dict.fromkeys(NAMES, INPUTS)


def test_a_fault_is_found_once_and_made_small() -> None:
    def play(given: tuple[str | bytes, ...]) -> None:
        assert all("dismissed" in str(part) for part in given)

    target = Target("feedback", TARGETS["feedback"].inputs, play)
    (found,) = fuzz(target, 500, number=1)
    assert (found.why, found.size) == ("AssertionError in the target itself", 0)
    assert fuzz(target, 500, number=1, known=[found.why]) == []
