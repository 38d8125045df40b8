"""The conditions of calls: codec, loss, noise, length.  [S]"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sim.clips import Voice
from sim.network import Network
from sim.scenario import TWILIO_TRACKS, CallPlan, LegPlan, Scenario

NONE = "none"


@dataclass(frozen=True, slots=True)
class Cell:
    """One condition."""

    codec: tuple[str, ...]
    """Codecs before the wire's own (G.711 µ-law), in series; see `sim.line.CODECS`."""
    loss: float
    """Share of packets lost, independently."""
    snr_db: float | None
    """SNR of the noise behind each speaker; None for no noise."""
    seconds: float
    """Length of the call."""

    @property
    def line(self) -> str:
        """The codecs as text."""
        return "+".join(self.codec) or "wire only"

    @property
    def noise(self) -> str:
        """The noise as text."""
        return NONE if self.snr_db is None else f"{self.snr_db:g} dB"

    @property
    def name(self) -> str:
        """All conditions as text."""
        return f"{self.line}, loss {100 * self.loss:g} %, SNR {self.noise}, {self.seconds:g} s"


def grid(
    codecs: Sequence[tuple[str, ...]],
    losses: Sequence[float],
    snrs_db: Sequence[float | None],
    seconds: Sequence[float],
) -> list[Cell]:
    """Return every combination."""
    return [
        Cell(codec, loss, snr_db, length_s)
        for codec in codecs
        for snr_db in snrs_db
        for loss in losses
        for length_s in seconds
    ]


def scenario(
    cell: Cell, pairs: Sequence[tuple[Voice, Voice | None]], first: int, seed: int, noise: str = "pink"
) -> Scenario:
    """Return the calls of some pairs in one cell: the same conversation in every cell of the same length.

    Args:
        cell: the condition.
        pairs: the speakers.
        first: number of the first pair.
        seed: determines turns and losses.
        noise: kind of noise, if any: a name of `sim.sounds.NOISES`, or a recording.
    """
    plans = []
    for number, pair in enumerate(pairs, start=first):
        legs = {leg: _leg(cell, voice, noise) for leg, voice in zip(TWILIO_TRACKS, pair, strict=True)}
        network = Network(loss=cell.loss)
        plans.append(CallPlan(f"call-{number + 1}", "twilio", legs, duration_s=cell.seconds, network=network))
    return Scenario(plans, seed=seed * 1_000_003 + first)


def _leg(cell: Cell, voice: Voice | None, noise: str) -> LegPlan:
    if voice is None:
        return LegPlan("none")
    return LegPlan(
        voice.label,
        clips=[str(path) for path in voice.paths],
        codec=list(cell.codec),
        noise="" if cell.snr_db is None else noise,
        noise_snr_db=cell.snr_db or 0.0,
    )
