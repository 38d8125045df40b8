"""Renders the shipped synthetic voices with free speech engines: ``python -m sim voices --out DIR``.

    apt-get install espeak-ng flite festival festvox-kallpc16k festvox-us-slt-hts

All engines are free software (Debian main); the clips have the licence of this repository. The same versions render the
same files, bit for bit. Each voice speaks two typical sentences of phone calls; `engines.json` beside the clips lists
engine, version and text.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import av
from rich.progress import track

CLIP_RATE_HZ = 16_000
CLIP_BIT_RATE = 24_000

SENTENCES = (
    (
        "Good morning, this is the security desk of your bank. We have noticed an unusual payment from your account, "
        "and before we can stop it I need you to confirm a few details with me."
    ),
    (
        "Yes, I understand that this sounds worrying. The payment was made about ten minutes ago, in a shop abroad, "
        "and it will be booked tonight unless we cancel it together now."
    ),
    (
        "Hello, it's me. I lost my phone, so I am calling from a friend's number. Listen, I had a small accident with "
        "the rented car, and they want the money before they let me go."
    ),
    (
        "Please do not tell anybody yet. I only need the code that you just received by text message. "
        "Read it to me slowly, one digit after the other, and then stay on the line."
    ),
    (
        "Thank you for calling. I would like to change the delivery address of my order. The parcel should not go to "
        "my home, but to the office on the other side of the river."
    ),
    (
        "I already spoke to one of your colleagues last week. She told me that the contract could be moved to a new "
        "number without any cost, as long as I call back before the end of the month."
    ),
)


class EngineMissing(Exception):
    """A speech engine or one of its voices is not installed; the text names the command."""


@dataclass(frozen=True, slots=True)
class Voice:
    """One voice of one engine."""

    name: str
    """Name of its folder, and in tables."""
    engine: str
    voice: str
    """Name in the engine."""

    def command(self, wav: Path) -> list[str]:
        """Return the command that speaks its standard input into `wav`."""
        if self.engine == "espeak-ng":
            return ["espeak-ng", "-v", self.voice, "--stdin", "-w", str(wav)]
        if self.engine == "flite":
            return ["flite", "-voice", self.voice, "-f", "/dev/stdin", "-o", str(wav)]
        return ["text2wave", "-eval", f"(voice_{self.voice})", "-o", str(wav)]


VOICES = (
    Voice("espeak_us", "espeak-ng", "en-us"),
    Voice("espeak_us_f3", "espeak-ng", "en-us+f3"),
    Voice("espeak_scotland_m7", "espeak-ng", "en-gb-scotland+m7"),
    Voice("flite_awb", "flite", "awb"),
    Voice("flite_kal16", "flite", "kal16"),
    Voice("flite_rms", "flite", "rms"),
    Voice("flite_slt", "flite", "slt"),
    Voice("festival_kal", "festival", "kal_diphone"),
    Voice("festival_slt_hts", "festival", "cmu_us_slt_arctic_hts"),
)


def render(out: Path) -> None:
    """Render every voice into ``out/<name>/``, and ``out/engines.json``.

    Raises:
        EngineMissing: a command is missing or failed.
    """
    clips = []
    for number, voice in enumerate(track(VOICES, description="rendering")):
        folder = out / voice.name
        folder.mkdir(parents=True, exist_ok=True)
        for turn in range(2):
            text = SENTENCES[(2 * number + turn) % len(SENTENCES)]
            path = folder / f"{turn + 1}.ogg"
            with tempfile.TemporaryDirectory() as scratch:
                wav = Path(scratch) / "speech.wav"
                _say(voice, text, wav)
                _to_opus(wav, path)
            clips.append(
                {"path": str(path.relative_to(out)), "engine": voice.engine, "voice": voice.voice, "text": text}
            )
    engines = {engine: _version(engine) for engine in sorted({voice.engine for voice in VOICES})}
    (out / "engines.json").write_text(
        json.dumps({"engines": engines, "clips": clips}, indent=1) + "\n", encoding="utf-8"
    )


def _say(voice: Voice, text: str, wav: Path) -> None:
    command = voice.command(wav)
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)
    except FileNotFoundError:
        raise EngineMissing(f"{command[0]}: not installed (see the head of sim/voices.py)") from None
    if done.returncode != 0 or not wav.exists():  # festival exits with 0 when a voice is missing
        raise EngineMissing(f"{' '.join(command)}: {done.stderr.strip()}")


def _version(engine: str) -> str:
    # flite prints its version and exits with 1
    output = subprocess.run([engine, "--version"], capture_output=True, text=True, check=False, timeout=60).stdout
    return next(line.split("Data at:")[0].strip() for line in output.splitlines() if re.search(r"\d\.\d", line))


def _to_opus(wav: Path, ogg: Path) -> None:
    """Code `wav` as mono Ogg Opus at `CLIP_RATE_HZ`."""
    with av.open(str(wav)) as source, av.open(str(ogg), "w", format="ogg", options={"fflags": "+bitexact"}) as sink:
        stream = sink.add_stream("libopus", rate=CLIP_RATE_HZ, layout="mono")
        stream.bit_rate = CLIP_BIT_RATE
        for frame in source.decode(audio=0):
            sink.mux(stream.encode(frame))
        sink.mux(stream.encode(None))
