"""Signatures of model files: Ed25519 (RFC 8032), detached, as base64 in ``X.json.sig`` beside the signed file.

The signature covers the card; the card contains the SHA-256 of the ONNX file, which is checked when the model is
opened. So one signature covers both. A fusion file beside the model has a signature of its own. Signatures are over the
bytes of the file, so other tools can make and check them too.
"""

from __future__ import annotations

import argparse
import base64
from collections.abc import Iterator
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from detection.decision.fusion import FILE as FUSION
from detection.detector import find_model, open_detector
from detection.errors import ModelError

EPILOG = """\
Create the keys once; give the gateway the public one as `verify_key`, and keep the private one off the gateway:

  openssl genpkey -algorithm ed25519 -out signing.pem
  openssl pkey -in signing.pem -pubout -out verify.pem
  callscreen detect sign models/ours.onnx --key signing.pem
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.description = "Sign a model: its card, which names the hash of its weights, and a fusion beside it."
    parser.epilog = EPILOG
    parser.add_argument("model", metavar="MODEL", help="path of an .onnx file, or a shipped model's name")
    parser.add_argument("--key", type=Path, required=True, metavar="FILE", help="private Ed25519 key, PEM, unencrypted")


def run(args: argparse.Namespace) -> int:
    """Sign a model and print the files written; return the exit code."""
    for signature in sign_model(args.model, read_signing_key(args.key)):
        print(signature)  # noqa: T201
    return 0


def sign_model(name_or_path: str | Path, key: Ed25519PrivateKey) -> list[Path]:
    """Write the signatures of a model; return their files.

    Raises:
        ModelError: the model cannot be opened, or a signature cannot be written.
    """
    open_detector(name_or_path)
    written = []
    for file in _signed_files(name_or_path):
        signature = signature_of(file)
        try:
            signature.write_text(base64.b64encode(key.sign(file.read_bytes())).decode() + "\n", encoding="ascii")
        except OSError as error:
            raise ModelError(f"{signature}: {error.strerror}") from None
        written.append(signature)
    return written


def check_model(name_or_path: str | Path, key: Ed25519PublicKey) -> None:
    """Check the signatures of a model.

    Raises:
        ModelError: a signature is missing, or was not made for this file with this key.
    """
    for file in _signed_files(name_or_path):
        signature = signature_of(file)
        try:
            key.verify(base64.b64decode(signature.read_bytes(), validate=False), file.read_bytes())
        except OSError as error:
            raise ModelError(f"{signature}: {error.strerror}; with `verify_key` set, models must be signed") from None
        except (InvalidSignature, ValueError):
            raise ModelError(f"{signature}: expected the signature of {file.name} by the verify key") from None


def signature_of(file: Path) -> Path:
    """Return the path of a file's signature."""
    return file.with_name(f"{file.name}.sig")


def read_verify_key(file: Path) -> Ed25519PublicKey:
    """Read a public key (PEM). Raises ModelError."""
    try:
        key = load_pem_public_key(file.read_bytes())
    except OSError as error:
        raise ModelError(f"{file}: {error.strerror}") from None
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ModelError(f"{file}: expected a public Ed25519 key in PEM")
    return key


def read_signing_key(file: Path) -> Ed25519PrivateKey:
    """Read a private key (PEM, unencrypted). Raises ModelError."""
    try:
        key = load_pem_private_key(file.read_bytes(), None)
    except OSError as error:
        raise ModelError(f"{file}: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ModelError(f"{file}: expected a private Ed25519 key in PEM, unencrypted")
    return key


def _signed_files(name_or_path: str | Path) -> Iterator[Path]:
    card = find_model(name_or_path).with_suffix(".json")
    yield card
    if (fusion := card.with_name(FUSION)).exists():
        yield fusion
