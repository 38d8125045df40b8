"""From a scenario and a library of voices to calls that can be played: the same ones for the same seed.  [S]"""

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
    """One call, ready to be played."""

    call_id: str
    plan: CallPlan
    start_s: float
    """On the scenario's clock."""
    parts: dict[str, Part]
    lines: dict[str, Line]
    prompts: dict[tuple[str, int], Samples] = field(default_factory=dict)
    """What is said in the sounds of a leg that are speech, by leg and the sound's number."""
    noises: dict[str, Samples] = field(default_factory=dict)
    """Background noise, by leg."""
    seed: str = ""
    """Of what is drawn while the audio is made."""
    began_s: float | None = None
    """When its first packet was really sent, on the scenario's clock; None before."""
    connected_at_s: list[float] = field(default_factory=list)
    """Where in the call each of its connections began: the media time of the gateway's legs counts from there."""
    late_s: float = 0.0
    """By how many real seconds its worst packet missed its time; callers that are themselves too slow prove nothing."""

    @property
    def transport(self) -> str:
        """``twilio``, ``plain``, ``webrtc`` …"""
        return self.plan.transport

    def render(self) -> dict[str, Samples]:
        """Return what each leg carries, from the first sample of the call to the last: float32, 16 kHz, mono."""
        count = round(self.plan.duration_s * CLIP_RATE_HZ)
        near = {leg: self._at_the_phone(leg, plan, count) for leg, plan in self.plan.legs.items()}
        return {leg: self._over_the_line(leg, plan, near) for leg, plan in self.plan.legs.items()}

    def _at_the_phone(self, leg: str, plan: LegPlan, count: int) -> Samples:
        """The speaker in their room, with what is heard around them."""
        rng = np.random.default_rng(list(f"{self.seed}/{leg}".encode()))
        heard = self.parts[leg].read(0, count)
        if plan.room_s:
            heard = line.in_room(heard, plan.room_s, rng)
        if (noise := self.noises.get(leg)) is not None:
            heard = line.with_noise(heard, noise, plan.noise_snr_db)
        for number, sound in enumerate(plan.sound):
            _lay(heard, self.prompts.get((leg, number)), sound, rng)
        return heard

    def _over_the_line(self, leg: str, plan: LegPlan, near: Mapping[str, Samples]) -> Samples:
        heard = near[leg]
        for other, samples in near.items():
            if other != leg and plan.echo_db is not None:
                heard = line.with_echo(heard, samples, plan.echo_ms, plan.echo_db)
        return line.through_codecs(np.clip(heard, -1.0, 1.0), plan.codec)


def _lay(heard: Samples, prompt: Samples | None, sound: Sound, rng: np.random.Generator) -> None:
    """Put a sound into a leg, in place."""
    length_s = sound.ends_s - sound.at_s
    if sound.kind == "dtmf":
        made = sounds.dtmf(sound.digits, sound.level_db)
    elif sound.kind == "beep":
        made = sounds.beep(sound.level_db)
    elif sound.kind == "ringback":
        made = sounds.ringback(length_s, sound.level_db)
    elif sound.kind == "busy":
        made = sounds.busy(length_s, sound.level_db)
    elif sound.kind == "hold-music":
        made = sounds.hold_music(length_s, sound.level_db, rng)
    elif prompt is not None:
        made = prompt[: round(length_s * CLIP_RATE_HZ)]
        if sound.kind == "voicemail":
            made = np.concatenate([made, np.zeros(CLIP_RATE_HZ // 2, np.float32), sounds.beep(sound.level_db)])
    else:
        return
    start = round(sound.at_s * CLIP_RATE_HZ)
    room = heard[start : start + len(made)]
    room += made[: len(room)]


def cast_calls(scenario: Scenario, library: Library, run_id: str) -> list[Call]:
    """Choose voices and write every call.

    Args:
        scenario: its seed decides everything that is drawn.
        library: voices to choose from, where a leg does not bring its own.
        run_id: goes into the call ids, so that a second run is not mistaken for the first one by the gateway.

    Raises:
        ClipError: no voice fits, or a recording cannot be read.
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
    """Return when nobody speaks, because something else is heard."""
    spans = [(sound.at_s, sound.ends_s) for leg in plan.legs.values() for sound in leg.sound]
    return sorted(span for span in spans if span[1] > span[0])


def _cast(plan: CallPlan, leg: LegPlan, library: Library, rng: random.Random) -> Casting:
    labels = leg.labels
    if leg.clips:
        library = from_paths(labels[0], leg.clips)
    elif leg.manifest:
        library = _manifest(leg.manifest, leg.split)
    # The machine first: it was drawn first when a call could have but one change of voice.
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
    """Choose what is heard besides the speakers."""
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
