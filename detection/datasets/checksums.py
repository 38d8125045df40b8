"""Checks files against a publisher's list of checksums."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from detection.datasets.entries import fields
from detection.errors import DataError

_KINDS = {32: "md5", 40: "sha1", 64: "sha256"}
"""Algorithm by the number of hexadecimal digits."""
_BLOCK_BYTES = 1 << 20


def check(listing: Path) -> int:
    """Check every file of a list in the format of ``md5sum`` and ``sha256sum``; return the number of files.

    Names are relative to the list's folder. The list may name downloaded archives, or files in them.

    Raises:
        DataError: the list cannot be read, a file is missing, or a checksum differs; names the line.
    """
    wanted = list(_wanted(listing))
    total = sum(file.stat().st_size for _, _, file in wanted)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("checking", total=total)
        for where, digest, file in wanted:
            found = hashlib.new(_KINDS[len(digest)], usedforsecurity=False)
            with file.open("rb") as content:
                while block := content.read(_BLOCK_BYTES):
                    found.update(block)
                    progress.advance(task, len(block))
            if found.hexdigest() != digest:
                raise DataError(f"{where}: {file}: expected {found.name} {digest}, got {found.hexdigest()}")
    return len(wanted)


def _wanted(listing: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield file and line number, digest and path of each line."""
    for where, (digest, *name) in fields(listing, 2):
        if len(digest) not in _KINDS or not re.fullmatch("[0-9a-fA-F]+", digest):
            raise DataError(f"{where}: expected an MD5, SHA-1 or SHA-256 sum in hexadecimal digits, got {digest!r}")
        file = listing.parent / " ".join(name).removeprefix("*")  # `*` marks binary mode
        if not file.is_file():
            raise DataError(f"{where}: expected an existing file, got {file}")
        yield where, digest.lower(), file
