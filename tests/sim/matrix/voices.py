"""A manifest of loud machines and quiet people, for a detector that judges by loudness."""

from __future__ import annotations

import wave
from pathlib import Path

from tests.gateway.loudness import speech


def write_manifest(folder: Path, people: int = 1, machines: int = 1) -> Path:
    """Write `people` and `machines` voices of one clip each, and their manifest."""
    rows = ["path,label,system,speaker,split"]
    for number in range(people + machines):
        synthetic = number >= people
        name = f"{'robo' if synthetic else 'anna'}{number}"
        with wave.open(str(folder / f"{name}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes((speech(8.0, synthetic=synthetic) * 32767).astype("<i2").tobytes())
        rows.append(f"{name}.wav,{'fake' if synthetic else 'real'},{name if synthetic else ''},{name},test")
    manifest = folder / "clips.csv"
    manifest.write_text("\n".join(rows) + "\n")
    return manifest
