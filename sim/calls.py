"""Makes the calls of a scenario from a library of voices: the same ones for the same seed.  [S]"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from gateway.client.codecs import CLIP_RATE_HZ, Samples
from sim import line, sounds
from sim.clips import Library, Voice, from_manifest, from_paths, load
from sim.network import Line
from sim.scenario import CallPlan, LegPlan, Scenario, Sound
from sim.talk import Casting, Part, converse

BABBLE_VOICES = 6


@dataclass(slots=True)
class Call:
    """A call, ready to be played."""

    call_id: str
    plan: CallPlan
    start_s: float
    """In scenario time."""
    parts: dict[str, Part]
    lines: dict[str, Line]
    prompts: dict[tuple[str, int], Samples] = field(default_factory=dict)
    """Speech of the leg's sounds, by leg and index of the sound."""
    noises: dict[str, Samples] = field(default_factory=dict)
    """Background noise, by leg."""
    seed: str = ""
    """Seed of the random parts of the audio."""
    began_s: float | None = None
    """When its first packet was sent, in scenario time; None before."""
    connected_at_s: list[float] = field(default_factory=list)
    """When each of its connections began, in seconds of the call; the gateway's media time of a leg counts from
    there."""
    late_s: float = 0.0
    """Largest delay of a packet in real seconds; if the caller itself is late, the measurement is invalid."""

    @property
    def transport(self) -> str:
        """Name of the attach point, such as ``twilio``."""
        return self.plan.transport

    def render(self) -> dict[str, Samples]:
        """Return the audio of each leg for the whole call: float32, 16 kHz, mono."""
        count = round(self.plan.duration_s * CLIP_RATE_HZ)
        near = {leg: self._at_the_phone(leg, plan, count) for leg, plan in self.plan.legs.items()}
        return {leg: self._over_the_line(leg, plan, near) for leg, plan in self.plan.legs.items()}

    def _at_the_phone(self, leg: str, plan: LegPlan, count: int) -> Samples:
        """Return the speaker's voice with room, noise and sounds."""
        rng = np.random.default_rng(list(f"{self.seed}/{leg}".encode()))
        audio = self.parts[leg].read(0, count)
        if plan.room_s:
            audio = line.in_room(audio, plan.room_s, rng)
        if (noise := self.noises.get(leg)) is not None:
            audio = line.with_noise(audio, noise, plan.noise_snr_db)
        for number, sound in enumerate(plan.sound):
            _add_sound(audio, self.prompts.get((leg, number)), sound, rng)
        return audio

    def _over_the_line(self, leg: str, plan: LegPlan, near: Mapping[str, Samples]) -> Samples:
        audio = near[leg]
        for other, samples in near.items():
            if other != leg and plan.echo_db is not None:
                audio = line.with_echo(audio, samples, plan.echo_ms, plan.echo_db)
        return line.through_codecs(np.clip(audio, -1.0, 1.0), plan.codec)


def _add_sound(audio: Samples, prompt: Samples | None, sound: Sound, rng: np.random.Generator) -> None:
    """Add a sound to a leg, in place."""
    length_s = sound.ends_s - sound.at_s
    if sound.kind == "dtmf":
        samples = sounds.dtmf(sound.digits, sound.level_db)
    elif sound.kind == "beep":
        samples = sounds.beep(sound.level_db)
    elif sound.kind == "ringback":
        samples = sounds.ringback(length_s, sound.level_db)
    elif sound.kind == "busy":
        samples = sounds.busy(length_s, sound.level_db)
    elif sound.kind == "hold-music":
        samples = sounds.hold_music(length_s, sound.level_db, rng)
    elif prompt is not None:
        samples = prompt[: round(length_s * CLIP_RATE_HZ)]
        if sound.kind == "voicemail":
            samples = np.concatenate([samples, np.zeros(CLIP_RATE_HZ // 2, np.float32), sounds.beep(sound.level_db)])
    else:
        return
    start = round(sound.at_s * CLIP_RATE_HZ)
    room = audio[start : start + len(samples)]
    room += samples[: len(room)]


def cast_calls(scenario: Scenario, library: Library, run_id: str) -> list[Call]:
    """Choose voices and make all calls.

    Args:
        scenario: its seed determines all random choices.
        library: voices for legs without voices of their own.
        run_id: part of the call ids, so that the gateway distinguishes the calls of two runs.

    Raises:
        ClipError: no voice matches, or a recording cannot be read.
    """
    return sorted(_calls(scenario, library, run_id), key=lambda call: call.start_s)


def _calls(scenario: Scenario, library: Library, run_id: str) -> Iterator[Call]:
    for number, plan in enumerate(scenario.call):
        quiet = _quiet(plan)
        for copy, name in enumerate(plan.names):
            seed = f"{scenario.seed}/{number}/{copy}"
            rng = random.Random(seed)
            casts = {leg: _cast(plan, leg_plan, library, rng) for leg, leg_plan in plan.legs.items()}
            parts = converse(casts, plan.duration_s, load, rng, plan.talk, quiet)
            lines = {leg: Line(plan.network, random.Random(rng.random())) for leg in plan.legs}
            call = Call(f"{name}.{run_id}", plan, plan.start_s + copy * plan.every_s, parts, lines, seed=seed)
            _add_surroundings(call, library, rng)
            yield call


def _quiet(plan: CallPlan) -> list[tuple[float, float]]:
    """Return the times of sounds during which nobody speaks."""
    spans = [(sound.at_s, sound.ends_s) for leg in plan.legs.values() for sound in leg.sound]
    return sorted(span for span in spans if span[1] > span[0])


def _cast(plan: CallPlan, leg: LegPlan, library: Library, rng: random.Random) -> Casting:
    labels = leg.labels
    if leg.clips:
        library = from_paths(labels[0], leg.clips)
    elif leg.manifest:
        library = _manifest(leg.manifest, leg.split)
    # The synthetic voice first: this keeps the choices of existing seeds.
    chosen: dict[str, Voice] = {}
    if "synthetic" in labels:
        chosen["synthetic"] = library.choose("synthetic", "*" if leg.clips else leg.system, rng)
    if "human" in labels:
        chosen["human"] = library.choose("human", "*", rng, "*" if leg.clips else leg.speaker)
    return Casting(tuple(chosen[label] for label in labels), plan.swaps_s(len(labels) - 1))


@lru_cache(maxsize=64)
def _manifest(manifest: str, split: str) -> Library:
    return from_manifest(Path(manifest), split or None)


def _add_surroundings(call: Call, library: Library, rng: random.Random) -> None:
    """Choose prompts and noise."""
    for leg, plan in call.plan.legs.items():
        for number, sound in enumerate(plan.sound):
            if sound.kind in ("ivr", "voicemail"):
                voice = library.choose(sound.voice, sound.system if sound.voice == "synthetic" else "*", rng)
                call.prompts[leg, number] = np.concatenate([load(path) for path in voice.paths[:4]])
        if plan.noise:
            call.noises[leg] = _noise(plan.noise, call.plan.duration_s, library, rng)


def _noise(kind: str, duration_s: float, library: Library, rng: random.Random) -> Samples:
    draw = np.random.default_rng(rng.randrange(2**32))
    if kind in ("white", "pink"):
        return sounds.noise(kind, min(duration_s, 60.0), draw)
    if kind == "babble":
        people = [load(library.choose("human", "*", rng).paths[0]) for _ in range(BABBLE_VOICES)]
        return sounds.babble(people, min(duration_s, 60.0), draw)
    return load(Path(kind))
