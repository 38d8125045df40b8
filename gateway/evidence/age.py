"""Encryption of files with public keys (age, https://age-encryption.org/v1). Needs the extra `evidence`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pyrage
from pyrage import x25519

from gateway.errors import ConfigError

PRIVATE = "AGE-SECRET-KEY-"
"""Prefix of a private key."""


def encryption(public_keys: Sequence[str]) -> Callable[[bytes], bytes]:
    """Return a function that encrypts for all of these keys. Raises ConfigError if one of them is invalid."""
    recipients = []
    for number, key in enumerate(public_keys, 1):
        try:
            recipients.append(x25519.Recipient.from_str(key))
        except pyrage.RecipientError as error:
            raise ConfigError(
                f"evidence.public_keys: expected age public keys; number {number} is none: {error}"
            ) from None
    return lambda data: bytes(pyrage.encrypt(data, recipients))


def new_pair() -> tuple[str, str]:
    """Return a new private key, and its public key."""
    identity = x25519.Identity.generate()
    return str(identity), str(identity.to_public())


def decryption(key_file: Path) -> Callable[[bytes], bytes]:
    """Return a function that decrypts with any of the private keys in a file written by `age-keygen`.

    The function raises ConfigError if none of them fits, or the data was changed.

    Raises:
        ConfigError: there is no key in the file.
    """
    try:
        lines = key_file.read_text(encoding="utf-8").split()
        identities = [x25519.Identity.from_str(line) for line in lines if line.startswith(PRIVATE)]
    except OSError as error:
        raise ConfigError(f"--key: {key_file}: {error.strerror}") from None
    except (UnicodeDecodeError, pyrage.IdentityError):
        identities = []
    if not identities:
        raise ConfigError(f"--key: {key_file}: expected a line that starts with {PRIVATE}")

    def decrypt(data: bytes) -> bytes:
        try:
            return bytes(pyrage.decrypt(data, identities))
        except pyrage.DecryptError as error:
            raise ConfigError(f"cannot be opened with {key_file}: {error}") from None

    return decrypt
