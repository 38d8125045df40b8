"""`callscreen evidence`: keys, opening, deleting, purging, each as people and scripts call it."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from gateway.__main__ import main
from gateway.commands import doctor
from gateway.commands.checks import storage
from gateway.config_loading import load
from gateway.evidence.age import decryption, encryption
from gateway.evidence.clip import Alert, Clip, Subject
from gateway.evidence.folder import Folder
from gateway.evidence.recent import Excerpt

MINE, OTHER = "0" * 31 + "1", "0" * 31 + "2"
SAMPLES = np.arange(-8000, 8000, dtype=np.int16)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run the command; return exit code, standard output and standard error."""
    capsys.readouterr()
    code = main(["evidence", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def store(folder: Path, public: str, tenant: str | None, call_id: str, alert_id: str) -> Path:
    """Store a file as a gateway does."""
    raised = datetime(2026, 11, 28, tzinfo=UTC)
    alert = Alert(alert_id, 3.5, raised, 0.99, "p_above_raise")
    clip = Clip(Subject(call_id, "caller", tenant, "customer", "plain"), alert, Excerpt(3.0, SAMPLES, ((3.25, 3.5),)))
    stored = Folder(folder)
    stored.make()
    stored.write((tenant, call_id, "caller", alert_id), encryption([public])(clip.flac()), 10**9)
    (path,) = folder.glob(f"*/{call_id}/{alert_id}.*")
    return path


@pytest.fixture
def public(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The public key of ``evidence.key``, of which the folder ``evidence`` has two files."""
    key = tmp_path / "evidence.key"
    code, out, _ = run(capsys, "keygen", key)
    assert (code, key.stat().st_mode & 0o777) == (0, 0o600)
    made = out.splitlines()[0]
    store(tmp_path / "evidence", made, None, "c-1", MINE)
    store(tmp_path / "evidence", made, "blue", "c-2", OTHER)
    return made


def test_a_key_opens_what_was_encrypted_for_it_and_no_other(
    tmp_path: Path, public: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    key, file = tmp_path / "evidence.key", tmp_path / f"evidence/_/c-1/{MINE}.caller.flac.age"
    code, out, _ = run(capsys, "open", file, "--key", key, "--json")
    facts = json.loads(out)
    assert (code, facts["call_id"], facts["leg"], facts["alert_id"]) == (0, "c-1", "caller", MINE)
    assert (facts["start_s"], facts["end_s"], facts["gaps_s"]) == ("3.000", "4.000", "3.250-3.500")
    samples, rate_hz = soundfile.read(facts["file"], dtype="int16")
    assert (Path(facts["file"]).name, rate_hz) == (f"{MINE}.caller.flac", 16_000)
    assert np.array_equal(samples, SAMPLES)
    assert Path(facts["file"]).stat().st_mode & 0o077 == 0

    code, _, err = run(capsys, "open", file, "--key", key)
    assert (code, "File exists" in err) == (2, True), "nothing is written over"
    code, _, err = run(capsys, "keygen", key)
    assert (code, "File exists" in err) == (2, True)
    run(capsys, "keygen", tmp_path / "other.key")
    code, out, err = run(capsys, "open", file, "--key", tmp_path / "other.key", "--out", tmp_path / "no.flac")
    assert (code, out, "cannot be opened with" in err, (tmp_path / "no.flac").exists()) == (2, "", True, False)
    for wrong, named in ((tmp_path / "none", "No such file"), (file, "expected a line that starts with")):
        code, _, err = run(capsys, "open", file, "--key", wrong)
        assert (code, named in err) == (2, True)
    damaged = tmp_path / "damaged.flac.age"
    damaged.write_bytes(file.read_bytes()[:-1] + b"?")
    assert run(capsys, "open", damaged, "--key", key)[0] == 2
    assert decryption(key)(file.read_bytes()).startswith(b"fLaC")
    assert public in key.read_text()


def test_files_are_listed_and_deleted_by_call_and_tenant(
    tmp_path: Path, public: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "evidence"
    config = tmp_path / "callscreen.toml"
    config.write_text(f'[evidence]\nfolder = "{folder}"\npublic_keys = ["{public}"]\n')
    code, out, _ = run(capsys, "list", "--config", config, "--json")
    assert (code, [(entry["call_id"], entry["tenant"]) for entry in json.loads(out)]) == (
        0, [("c-1", None), ("c-2", "blue")]
    )  # fmt: skip
    table = run(capsys, "list", "--folder", folder)[1]
    assert all(word in table for word in ("c-1", "c-2", "blue", MINE, OTHER))
    assert json.loads(run(capsys, "list", "--folder", folder, "--json", "--call", "c-2", "--tenant", "red")[1]) == []

    assert run(capsys, "delete", "c-2", "--tenant", "red", "--folder", folder)[:2] == (1, "0 files deleted\n")
    code, out, _ = run(capsys, "delete", "c-2", "--folder", folder, "--json")
    assert (code, json.loads(out)) == (0, {"deleted": 1})
    assert [path.name for path in folder.iterdir() if path.name != ".lock"] == ["_"]
    code, _, err = run(capsys, "list", "--folder", tmp_path / "none")
    assert (code, "is not there" in err) == (2, True)
    (tmp_path / "empty.toml").write_text("")
    code, _, err = run(capsys, "list", "--config", tmp_path / "empty.toml")
    assert (code, "not set" in err) == (2, True)


def test_a_purge_deletes_what_is_too_old_and_counts_anew(
    tmp_path: Path, public: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "evidence"
    old = folder / f"_/c-1/{MINE}.caller.flac.age"
    ago = (datetime.now(UTC) - timedelta(days=3)).timestamp()
    os.utime(old, (ago, ago))
    (folder / "blue/c-2/left.part").write_bytes(b"by a process that was killed")
    (folder / ".lock").write_text("99999999999999999999")
    assert run(capsys, "purge", "--folder", folder)[0] == 2, "days are not known"
    assert run(capsys, "purge", "--folder", folder, "--days", "4")[1] == "0 files deleted\n"
    assert run(capsys, "purge", "--folder", folder, "--days", "2", "--json")[1] == '{"deleted": 1}\n'
    (left,) = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    assert left.name == f"{OTHER}.caller.flac.age"
    assert int((folder / ".lock").read_text()) == left.stat().st_size
    with pytest.raises(SystemExit):
        run(capsys, "purge", "--folder", folder, "--days", "-1")


def test_the_doctor_looks_at_keys_folder_and_room(tmp_path: Path, public: str) -> None:
    folder = tmp_path / "evidence"
    usual = {"folder": folder, "public_keys": [public], "max_bytes": 1_000_000}

    def found(**change: Any) -> dict[str, str]:
        settings = load(environ={}, evidence=usual | change)
        return {finding.check: finding.state for finding in storage.evidence(settings)}

    assert storage.evidence in doctor.CHECKS
    assert found() == {"evidence.public_keys": "ok", "evidence.folder": "ok", "evidence: disk": "ok"}
    assert found(max_bytes=10)["evidence: disk"] == "warning", "the limit is reached"
    assert found(max_bytes=10**18)["evidence: disk"] == "warning", "the disk is smaller"
    folder.chmod(0o755)
    assert found()["evidence.folder"] == "warning"
    typo = public[:-1] + ("q" if public[-1] != "q" else "p")
    assert found(public_keys=[typo])["evidence.public_keys"] == "error"
    assert found(folder=tmp_path / "none" / "evidence")["evidence.folder"] == "error"
    assert found(folder=tmp_path / "evidence.key")["evidence.folder"] == "error"
    assert found(folder=tmp_path / "new")["evidence.folder"] == "ok"
    assert not (tmp_path / "new").exists()
