"""Voices of speech engines installed on this machine: the simplest tools for making synthetic speech.

Debian packages: espeak-ng, flite, festival with festvox-kallpc16k and festvox-us-slt-hts.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
import soxr

from detection.errors import DataError
from detection.types import SAMPLE_RATE_HZ, Samples

_LONGEST_S = 6.0

SENTENCES = """\
The meeting was moved to Thursday because half of the team is travelling.
You can leave the keys with the neighbour on the second floor.
Our records show that the subscription ends on the fourteenth of March.
He asked whether the blue bicycle in the yard was still for sale.
Rain is expected in the afternoon, with strong wind along the coast.
Could you tell me which platform the night train leaves from?
The recipe needs two cups of flour, one egg and a little salt.
I tried to reach you twice this morning but nobody answered.
Press the green button, wait for the tone, and say your name clearly.
They painted the kitchen yellow and the hallway a very light grey.
Your table for six people is booked under the name of Henderson.
The museum opens at nine and closes an hour before sunset.
A small dog followed the postman all the way down the street.
We would like to offer you a better price for the next twelve months.
The doctor can see you on Monday at half past eight.
Nothing in the box was broken, although the tape had come off.
Please have your customer number and date of birth ready.
My brother learned to play the trumpet in less than a year.
The second invoice should be ignored, it was sent by mistake.
After the bridge, take the third exit and keep to the left.
This quarter the factory produced more than forty thousand chairs.
She keeps a notebook with the names of every bird she has seen.
Unfortunately the line is busy, we will call you back shortly.
It takes about twenty minutes to charge the battery completely.
The old theatre was turned into a library with a glass roof.
If the lamp blinks red, unplug the device and call our support.
Nobody remembered who had ordered the extra chairs for the garden.
The choir will sing three songs before the speech begins.
Water the plants twice a week and turn them towards the window.
He wrote down the address on the back of an old receipt.""".splitlines()

_ESPEAK_VOICES = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-gb-x-gbclan")
_ESPEAK_VARIANTS = (
    "", *(f"+m{number}" for number in range(1, 9)), *(f"+f{number}" for number in range(1, 6)),
    "+croak", "+whisper", "+klatt", "+klatt2", "+klatt3",
)  # fmt: skip
_FLITE_VOICES = ("kal", "awb", "kal16", "rms", "slt")
_FESTIVAL_VOICES = ("kal_diphone", "cmu_us_slt_arctic_hts")


@dataclass(frozen=True, slots=True)
class Utterance:
    """One clip to be rendered."""

    system: str
    """Name of the engine, with the voice where each voice is a system."""
    voice: str
    family: str
    command: tuple[str, ...]
    """Command that reads the text on standard input; the path of the WAV to write is appended."""
    text: str


def utterances(engine: str, count: int, rng: np.random.Generator) -> Iterator[Utterance]:
    """Yield `count` clips of `engine` with two sentences each; voices in turn or at random, pace and pitch at
    random."""
    command: tuple[str, ...]
    for number in range(count):
        text = " ".join(rng.choice(SENTENCES, 2, replace=False))
        if engine == "espeak-ng":
            voice = f"{rng.choice(_ESPEAK_VOICES)}{rng.choice(_ESPEAK_VARIANTS)}"
            pace, height = f"{rng.integers(130, 201)}", f"{rng.integers(25, 76)}"
            command = ("espeak-ng", "-v", voice, "-s", pace, "-p", height, "--stdin", "-w")
            yield Utterance("espeak-ng", voice, "formant", command, text)
        elif engine == "flite":
            voice = _FLITE_VOICES[number % len(_FLITE_VOICES)]
            height = f"int_f0_target_mean={rng.integers(150, 201) if voice == 'slt' else rng.integers(85, 131)}"
            pace = f"duration_stretch={rng.uniform(0.85, 1.2):.2f}"
            command = ("flite", "-voice", voice, "--setf", pace, "--setf", height, "-f", "/dev/stdin", "-o")
            yield Utterance(f"flite_{voice}", voice, "concatenative", command, text)
        else:
            voice = _FESTIVAL_VOICES[number % len(_FESTIVAL_VOICES)]
            family = "statistical-parametric" if voice.endswith("hts") else "concatenative"
            yield Utterance(f"festival_{voice}", voice, family, ("text2wave", "-eval", f"(voice_{voice})", "-o"), text)


ENGINES = ("espeak-ng", "flite", "festival")


def say(utterance: Utterance) -> Samples:
    """Synthesise an utterance; return at most six seconds at 16 kHz.

    Raises:
        DataError: the engine or its voice is not installed, or it failed.
    """
    with TemporaryDirectory() as folder:
        wav = Path(folder) / "speech.wav"
        try:
            done = subprocess.run(  # noqa: S603  the commands are those above
                [*utterance.command, str(wav)], input=utterance.text, capture_output=True, text=True, check=False,
                timeout=60,
            )  # fmt: skip
        except FileNotFoundError:
            raise DataError(f"{utterance.command[0]}: not installed (see detection/training/engines.py)") from None
        # festival exits with 0 when a voice is missing
        if done.returncode or not wav.exists() or wav.stat().st_size < 1_000:
            raise DataError(f"{' '.join(utterance.command)}: {done.stderr.strip() or 'expected audio, got none'}")
        samples, rate_hz = soundfile.read(wav, dtype="float32")
    return np.asarray(soxr.resample(samples, rate_hz, SAMPLE_RATE_HZ)[: int(_LONGEST_S * SAMPLE_RATE_HZ)], np.float32)
