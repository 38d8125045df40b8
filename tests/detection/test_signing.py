"""A model that is not as it was signed is not opened."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from detection.__main__ import main
from detection.detector import WEIGHTS
from detection.errors import ModelError
from detection.signing import check_model, read_signing_key, read_verify_key, sign_model

NAMES = ("tinyaudionet.onnx", "tinyaudionet.json", "fusion.json")


def write_keys(folder: Path, key: Ed25519PrivateKey | X25519PrivateKey | None = None) -> tuple[Path, Path]:
    """Write a private key and its public one."""
    key = key or Ed25519PrivateKey.generate()
    private, public = folder / "signing.pem", folder / "verify.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def copy_model(folder: Path) -> Path:
    """Copy a shipped model with its fusion; return its path."""
    for name in NAMES:
        shutil.copy(WEIGHTS / name, folder)
    return folder / NAMES[0]


def test_signed_model_is_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, (private, public) = copy_model(tmp_path), write_keys(tmp_path)
    assert main(["sign", str(model), "--key", str(private)]) == 0
    told = capsys.readouterr().out.split()
    assert told == [str(tmp_path / "tinyaudionet.json.sig"), str(tmp_path / "fusion.json.sig")]
    check_model(model, read_verify_key(public))


def change(file: str) -> Callable[[Path], object]:
    return lambda folder: (folder / file).write_bytes((folder / file).read_bytes().replace(b"0.", b"0.0", 1))


def lose(file: str) -> Callable[[Path], object]:
    return lambda folder: (folder / file).unlink()


def scribble(file: str) -> Callable[[Path], object]:
    return lambda folder: (folder / file).write_bytes(b"\xff not base64")


def exchange(folder: Path) -> None:
    shutil.copy(folder / "fusion.json.sig", folder / "tinyaudionet.json.sig")


def sign_with_another_key(folder: Path) -> None:
    sign_model(folder / NAMES[0], Ed25519PrivateKey.generate())


@pytest.mark.parametrize(
    ("augment", "said"),
    [
        (change("tinyaudionet.json"), r"tinyaudionet\.json\.sig: expected the signature of tinyaudionet\.json"),
        (change("fusion.json"), r"fusion\.json\.sig: expected the signature of fusion\.json"),
        (lose("tinyaudionet.json.sig"), "No such file.*models must be signed"),
        (lose("fusion.json.sig"), "No such file.*models must be signed"),
        (scribble("tinyaudionet.json.sig"), "expected the signature"),
        (exchange, "expected the signature"),
        (sign_with_another_key, "expected the signature"),
    ],
)
def test_changed_or_unsigned_model_is_refused(tmp_path: Path, augment: Callable[[Path], object], said: str) -> None:
    model, (private, public) = copy_model(tmp_path), write_keys(tmp_path)
    sign_model(model, read_signing_key(private))
    augment(tmp_path)
    with pytest.raises(ModelError, match=said):
        check_model(model, read_verify_key(public))


def test_model_that_cannot_be_opened_is_not_signed(tmp_path: Path) -> None:
    model = copy_model(tmp_path)
    model.write_bytes(model.read_bytes() + b"x")
    with pytest.raises(ModelError, match="not the file its card describes"):
        sign_model(model, Ed25519PrivateKey.generate())
    assert not list(tmp_path.glob("*.sig"))


def test_keys_of_other_kinds_are_refused(tmp_path: Path) -> None:
    private, public = write_keys(tmp_path, X25519PrivateKey.generate())
    for read, file in ((read_signing_key, private), (read_verify_key, public), (read_verify_key, private)):
        with pytest.raises(ModelError, match=r"expected a (public|private) Ed25519 key"):
            read(file)
    with pytest.raises(ModelError, match="No such file"):
        read_verify_key(tmp_path / "none.pem")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_can_make_keys_and_verify_signatures(tmp_path: Path) -> None:
    model, private, public = copy_model(tmp_path), tmp_path / "signing.pem", tmp_path / "verify.pem"
    for command in (f"genpkey -algorithm ed25519 -out {private}", f"pkey -in {private} -pubout -out {public}"):
        subprocess.run(["openssl", *command.split()], check=True, capture_output=True)
    signature, _ = sign_model(model, read_signing_key(private))
    check_model(model, read_verify_key(public))
    raw = tmp_path / "raw.sig"
    raw.write_bytes(base64.b64decode(signature.read_text()))
    verify = f"pkeyutl -verify -pubin -inkey {public} -rawin -in {model.with_suffix('.json')} -sigfile {raw}"
    subprocess.run(["openssl", *verify.split()], check=True, capture_output=True)
