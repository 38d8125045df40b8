"""The speakers: voices of a manifest, chosen by seed and paired to two-party calls."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from sim.clips import ClipError, Label, Row, Voice, load, read_manifest

MAX_CLIPS = 8
"""Clips used of each voice."""


@dataclass(frozen=True, slots=True)
class Cast:
    """The calls of every cell, by their speakers."""

    pairs: tuple[tuple[Voice, Voice | None], ...]
    """Both speakers of each call; None for nobody, if the number of voices is odd."""
    problems: tuple[str, ...]
    """Unusable clips, one line each: file, line and reason."""

    @property
    def voices(self) -> list[Voice]:
        """All speakers."""
        return [voice for pair in self.pairs for voice in pair if voice is not None]


def cast(manifest: Path, split: str | None, legs: int, seed: int) -> Cast:
    """Choose up to `legs` voices, half of them synthetic if there are enough, and pair them.

    A voice is all clips of one speaker by one system. Voices with most clips come first, but each system is used once
    before any is used again. Human voices are paired with synthetic ones as far as possible. The seed decides among
    equals.

    Raises:
        ClipError: as `read_manifest`; a missing clip; or no clip that can be decoded.
    """
    rows = read_manifest(manifest, split)
    for row in rows:
        if not row.path.is_file():
            raise ClipError(f"{manifest}:{row.line}: path: expected an existing file, got {row.path}")
    rng = random.Random(seed)
    groups: dict[tuple[Label, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.label, row.system, row.speaker), []).append(row)
    everybody, all_machines = (
        _spread_over_systems([groups[key] for key in sorted(groups) if key[0] == label], rng)
        for label in ("human", "synthetic")
    )
    synthetic = all_machines[: max(legs - len(everybody), legs // 2)]
    human = everybody[: legs - len(synthetic)]
    problems: list[str] = []
    people = _voices(human, manifest, rng, problems)
    machines = _voices(synthetic, manifest, rng, problems)
    if not people and not machines:
        raise ClipError(problems[0] if problems else f"{manifest}: expected clips, got none")
    return Cast(tuple(_paired(people, machines, rng)), tuple(problems))


def _spread_over_systems(voices: Sequence[list[Row]], rng: random.Random) -> list[list[Row]]:
    """Sort voices by their number of clips; each system comes once before any comes again."""
    of_system: dict[str, list[list[Row]]] = {}
    for voice in sorted(rng.sample(voices, len(voices)), key=lambda rows: -min(len(rows), MAX_CLIPS)):
        of_system.setdefault(voice[0].system, []).append(voice)
    return [voice for turn in zip_longest(*of_system.values()) for voice in turn if voice is not None]


def _voices(chosen: Sequence[list[Row]], manifest: Path, rng: random.Random, problems: list[str]) -> list[Voice]:
    """Return the voices with their decodable clips; the others are added to `problems`."""
    voices = []
    for rows in chosen:
        readable = []
        for row in sorted(rng.sample(rows, min(MAX_CLIPS, len(rows))), key=lambda row: row.line):
            try:
                load(row.path)
            except ClipError as error:
                problems.append(f"{manifest}:{row.line}: {error}")
            else:
                readable.append(row.path)
        if readable:
            voices.append(Voice(rows[0].label, rows[0].system, rows[0].speaker, tuple(readable)))
    return voices


def _paired(people: list[Voice], machines: list[Voice], rng: random.Random) -> list[tuple[Voice, Voice | None]]:
    both = min(len(people), len(machines))
    pairs: list[tuple[Voice, Voice | None]] = [
        (person, machine) if rng.random() < 0.5 else (machine, person)
        for person, machine in zip(people[:both], machines[:both], strict=True)
    ]
    rest = [*people[both:], *machines[both:]]
    return [*pairs, *zip_longest(rest[::2], rest[1::2])]
