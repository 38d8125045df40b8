from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from detection.__main__ import main
from detection.datasets.checksums import check
from detection.errors import DataError
from tests.detection.datasets.test_command import folder


def test_files_are_checked_by_the_kind_of_sum_that_is_given(tmp_path: Path) -> None:
    content = b"an archive" * 1000
    for name in ("a.tar.gz", "b c.zip"):
        (tmp_path / name).write_bytes(content)
    lines = [f"{hashlib.md5(content).hexdigest()} *a.tar.gz", f"{hashlib.sha256(content).hexdigest()}  b c.zip"]
    (tmp_path / "sums.txt").write_text("\n".join(lines) + "\n")
    assert check(tmp_path / "sums.txt") == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"{32 * '0'}  a.zip", "sums.txt:2: .*a.zip: expected md5 0{32}, got "),
        (f"{40 * '0'}  gone.zip", "sums.txt:2: expected an existing file, got .*gone.zip"),
        ("12345  a.zip", "sums.txt:2: expected an MD5, SHA-1 or SHA-256 sum"),
        (f"{32 * 'x'}  a.zip", "sums.txt:2: expected an MD5"),
        ("a.zip", "sums.txt:2: expected at least 2 fields, got 1"),
    ],
)
def test_checksum_errors_name_the_line(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"a")
    (tmp_path / "sums.txt").write_text(f"{hashlib.md5(b'a').hexdigest()}  a.zip\n{line}\n")
    with pytest.raises(DataError, match=message):
        check(tmp_path / "sums.txt")


def test_a_damaged_archive_gives_no_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder(tmp_path / "data")
    (tmp_path / "md5sum.txt").write_text(f"{hashlib.md5(b'').hexdigest()}  data/human/2.mp3\n")
    arguments = ["dataset", "folder", str(tmp_path / "data"), "--out", str(tmp_path / "m.csv")]
    assert main([*arguments, "--checksums", str(tmp_path / "md5sum.txt")]) == 0
    assert "1 files match their checksums" in capsys.readouterr().err
    (tmp_path / "m.csv").unlink()
    (tmp_path / "data/human/2.mp3").write_bytes(b"cut")
    assert main([*arguments, "--checksums", str(tmp_path / "md5sum.txt")]) == 2
    assert not (tmp_path / "m.csv").exists()
