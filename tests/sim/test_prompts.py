"""The real dpkg-deb unpacks; apt-get is a script that hands out a package built here, for tests have no network."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from sim.clips import ClipError, from_folder
from sim.prompts import PACKAGE, human_prompts
from tests.sim.conftest import write_tone

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not on this machine")


@pytest.fixture
def deb(tmp_path: Path) -> Path:
    """A package like Debian's: a long prompt, a short one, and noises."""
    root = tmp_path / "root"
    sounds = root / "usr/share/asterisk/sounds/en_US_f_Allison"
    for name, duration_s in (("vm-intro", 2.0), ("vm-and", 0.5), ("tt-monkeys", 3.0), ("digits/1", 2.0)):
        write_tone(sounds / f"{name}.wav", 300, duration_s)
    (root / "DEBIAN").mkdir()
    control = f"Package: {PACKAGE}\nVersion: 1\nArchitecture: all\nMaintainer: nobody <n@example.com>\nDescription: x\n"
    (root / "DEBIAN/control").write_text(control)
    subprocess.run(["dpkg-deb", "--build", str(root), str(tmp_path / "it.deb")], check=True, capture_output=True)
    return tmp_path / "it.deb"


def put_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """Let `script` be apt-get; returns the file where it notes what it was asked for."""
    asked, tools = tmp_path / "asked", tmp_path / "bin"
    tools.mkdir()
    (tools / "apt-get").write_text(f'#!/bin/sh\necho "$@" >> {asked}\n{script}\n')
    (tools / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return asked


@needs_dpkg
def test_the_prompts_are_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deb: Path) -> None:
    asked = put_on_path(tmp_path, monkeypatch, f"cp {deb} .")
    cache = tmp_path / "cache"
    assert human_prompts(cache) == human_prompts(cache) == cache / PACKAGE
    assert asked.read_text().splitlines() == [f"download {PACKAGE}"]
    (allison,) = [voice for voice in from_folder(cache / PACKAGE).voices if voice.label == "human"]
    assert (allison.speaker, [path.name for path in allison.paths]) == ("allison", ["vm-intro.wav"])
    assert [entry.name for entry in cache.iterdir()] == [PACKAGE]


@needs_dpkg
def test_missing_package_list_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deb: Path) -> None:
    script = f'case "$*" in *State::Lists*update) ;; *State::Lists*download*) cp {deb} . ;; *) exit 100 ;; esac'
    asked = put_on_path(tmp_path, monkeypatch, script)
    assert human_prompts(tmp_path / "cache").is_dir()
    assert [line.split()[-1] for line in asked.read_text().splitlines()] == [PACKAGE, "update", PACKAGE]


@needs_dpkg
def test_failed_download_states_reason_and_alternative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_on_path(tmp_path, monkeypatch, "echo E: no network >&2; exit 100")
    with pytest.raises(ClipError, match=r"could not be fetched \(E: no network\); give a folder .*--clips DIR"):
        human_prompts(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@needs_dpkg
def test_a_broken_package_leaves_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_on_path(tmp_path, monkeypatch, "echo nonsense > it.deb")
    with pytest.raises(ClipError, match=r"it\.deb could not be unpacked"):
        human_prompts(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_other_operating_systems_get_the_alternative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClipError, match="apt-get is not on this machine; give a folder"):
        human_prompts(tmp_path / "cache")


def test_the_cache_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "callscreen" / PACKAGE).mkdir(parents=True)
    assert human_prompts() == tmp_path / "callscreen" / PACKAGE
