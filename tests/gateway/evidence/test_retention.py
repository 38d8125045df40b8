"""What is too old is deleted, again and again, and a folder that cannot be read for a while ends nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.evidence import retention
from gateway.evidence.folder import Folder
from gateway.evidence.settings import EXAMPLE_KEY, EvidenceSettings


def stored(folder: Folder, alert_id: str) -> Path:
    folder.make()
    folder.write((None, "c-1", "caller", alert_id), b"x" * 10, 10**6)
    (path,) = folder.path.glob(f"*/*/{alert_id}*")
    return path


def age(path: Path, days: float) -> None:
    at = path.stat().st_mtime - days * 86_400
    os.utime(path, (at, at))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110  a condition of the disk
            await asyncio.sleep(0.01)


async def test_old_files_go_again_and_again_whatever_happens_to_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(retention, "INTERVAL_S", 0.02)
    folder = Folder(tmp_path / "evidence")
    settings = EvidenceSettings.model_validate({"folder": folder.path, "public_keys": [EXAMPLE_KEY], "max_days": 2})
    old, young = stored(folder, "0" * 32), stored(folder, "1" * 32)
    age(old, 2.1)
    age(young, 1.9)
    async with retention.purging(settings):
        await until(lambda: not old.exists())
        folder.path.rename(tmp_path / "elsewhere")
        await until(lambda: "old evidence cannot be deleted" in capsys.readouterr().out)
        (tmp_path / "elsewhere").rename(folder.path)
        assert young.exists()
        age(young, 0.2)
        await until(lambda: not young.exists())


async def test_without_evidence_nothing_runs() -> None:
    before = asyncio.all_tasks()
    async with retention.purging(None):
        assert asyncio.all_tasks() == before
