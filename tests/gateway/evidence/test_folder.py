"""The folder: one limit for all who write, whole files or none, names that lead nowhere else."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.evidence import folder as folders
from gateway.evidence.folder import Folder, LimitReached


def alert(number: int) -> str:
    return f"{number:032x}"


def taken(path: Path) -> int:
    return sum(file.stat().st_size for file in path.glob("*/*/*"))


def test_concurrent_writers_share_one_limit(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "evidence")
    folder.make()
    refused: list[int] = []

    def write(worker: int) -> None:
        own = Folder(folder.path)  # as a process of its own would have
        for number in range(10):
            try:
                own.write(("blue", f"c-{worker}", "caller", alert(10 * worker + number)), b"x" * 100, 2_550)
            except LimitReached:
                refused.append(number)

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (taken(folder.path), len(refused)) == (2_500, 15)
    assert int((folder.path / ".lock").read_text()) == 2_500
    deleted = sum(folder.delete(f"c-{worker}", "blue") for worker in range(4))
    assert (deleted, int((folder.path / ".lock").read_text())) == (25, 0)
    assert [path.name for path in folder.path.iterdir()] == [".lock"]


def test_a_count_that_is_lost_is_made_anew(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "evidence")
    folder.make()
    folder.write((None, "c-1", "caller", alert(1)), b"x" * 100, 1_000)
    for damage in ("", "nonsense"):
        (folder.path / ".lock").write_text(damage)
        with pytest.raises(LimitReached):
            folder.write((None, "c-1", "caller", alert(2)), b"x" * 901, 1_000)
    assert [entry.alert_id for entry in folder.entries()] == [alert(1)]


@pytest.mark.parametrize("call_id", ["..", "a/b", "", ".", "*", "a" * 129, "_"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, call_id: str) -> None:
    folder = Folder(tmp_path / "evidence")
    folder.make()
    with pytest.raises(OSError, match="not a name"):
        folder.write((None, call_id, "caller", alert(1)), b"x", 1_000)
    assert folder.entries(call_id or "..") == []
    assert folder.read(call_id, alert(1)) is None
    assert [path.name for path in folder.path.rglob("*") if path.name != ".lock"] == []


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "evidence")
    folder.make()
    folder.write((None, "c-1", "caller", alert(1)), b"x", 1_000)
    strange = folder.path / "_/c-1/notes.flac.age"
    strange.write_text("not ours")
    assert [entry.leg for entry in folder.entries()] == ["caller"]
    assert folder.delete("c-1") == 1
    assert strange.exists()


def test_the_wait_for_a_locked_folder_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "LOCKED_S", 0.05)
    folder = Folder(tmp_path / "evidence")
    folder.make()
    with folder._locked(), pytest.raises(OSError, match="another process"):
        folder.write((None, "c-1", "caller", alert(1)), b"x", 1_000)


def test_a_file_in_place_of_the_folder_is_a_mistake_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "evidence").write_text("")
    with pytest.raises(ConfigError, match="folder: "):
        Folder(tmp_path / "evidence").make()
