"""The folder of encrypted files: ``TENANT/CALL_ID/ALERT_ID.LEG.flac.age``, ``_`` for calls without a tenant.  [IO]

Several processes may use it at once. To change it a process locks (flock(2)) the file ``.lock``, which holds the total
size of all files, so that one limit applies to all processes. The content of the files cannot be read here.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gateway.errors import ConfigError

SUFFIX = ".flac.age"
NOBODY = "_"
"""Placeholder for a missing tenant; no tenant's name starts with it."""
LOCKED_S = 5.0
"""How long to wait for another process that changes the folder."""
_POLL_S = 0.01
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}")
"""Name of a call, a leg or a tenant; see `gateway.ingest.names`."""
_ALERT = re.compile(r"[0-9a-f]{32}")
_LOCK = ".lock"
_PART = ".part"
_DIGITS = 20


class LimitReached(Exception):
    """The total size of the files would exceed the limit."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file."""

    path: Path
    tenant: str | None
    call_id: str
    leg: str
    alert_id: str
    size_bytes: int
    stored: datetime

    def facts(self) -> dict[str, str | int | None]:
        """Return its facts, for JSON."""
        return {
            "call_id": self.call_id,
            "tenant": self.tenant,
            "leg": self.leg,
            "alert_id": self.alert_id,
            "size_bytes": self.size_bytes,
            "stored": rfc3339(self.stored),
        }


class Folder:
    """The files of all calls. All methods block on the disk, so they must not run on the event loop."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self) -> None:
        """Create the folder, accessible only to its owner, if it does not exist. Raises ConfigError."""
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"evidence.folder: {self.path} cannot be created: {error.strerror}") from None

    def check(self) -> None:
        """Raise OSError if the folder cannot be changed now."""
        with self._locked():
            pass

    @property
    def is_private(self) -> bool:
        """Whether only its owner can access the folder."""
        return not self.path.stat().st_mode & 0o077

    def write(self, entry_of: tuple[str | None, str, str, str], data: bytes, max_bytes: int) -> None:
        """Store a file completely, or not at all.

        Args:
            entry_of: tenant, call, leg and alert.
            data: the encrypted content.
            max_bytes: limit on the total size of all files.

        Raises:
            LimitReached: the limit would be exceeded.
            OSError: the file cannot be written.
        """
        tenant, call_id, leg, alert_id = entry_of
        for name in (call_id, leg, alert_id):
            if not _NAME.fullmatch(name):
                raise OSError(errno.EINVAL, "not a name for a file")
        with self._locked() as total:
            if total.bytes + len(data) > max_bytes:
                raise LimitReached
            owner = self.path / (tenant or NOBODY)
            call = owner / call_id
            for folder in (owner, call):
                folder.mkdir(mode=0o700, exist_ok=True)
            part = call / (alert_id + _PART)
            try:
                _write(part, data)
                part.replace(call / f"{alert_id}.{leg}{SUFFIX}")
            except OSError:
                part.unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # not empty
                    call.rmdir()
                raise
            total.bytes += len(data)

    def entries(self, call_id: str | None = None, tenant: str | None = None) -> list[Entry]:
        """Return the files, oldest first: of one call or all, of one tenant or all."""
        if call_id is not None and not _NAME.fullmatch(call_id):
            return []
        found = []
        for path in self.path.glob(f"{tenant or '*'}/{call_id or '*'}/*{SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):  # deleted in the meantime
                found.append(_entry(path))
        return sorted((entry for entry in found if entry is not None), key=lambda entry: (entry.stored, entry.alert_id))

    def read(self, call_id: str, alert_id: str, tenant: str | None = None) -> bytes | None:
        """Return an encrypted file; None if there is none."""
        if not _ALERT.fullmatch(alert_id):
            return None
        for entry in self.entries(call_id, tenant):
            if entry.alert_id == alert_id:
                with contextlib.suppress(FileNotFoundError):
                    return entry.path.read_bytes()
        return None

    def delete(self, call_id: str, tenant: str | None = None) -> int:
        """Delete all files of a call, of one tenant or all; return their number. Raises OSError."""
        with self._locked() as total:
            return self._delete(self.entries(call_id, tenant), total)

    def purge(self, before: datetime) -> int:
        """Delete files stored before that time, and incomplete ones of dead processes; return the number of complete
        ones.

        Also determines the total size again. Raises OSError.
        """
        with self._locked() as total:
            for part in self.path.glob(f"*/*/*{_PART}"):  # a process that writes would hold the lock
                part.unlink(missing_ok=True)
            entries = self.entries()
            total.bytes = sum(entry.size_bytes for entry in entries)
            return self._delete([entry for entry in entries if entry.stored < before], total)

    def _delete(self, entries: list[Entry], total: _Total) -> int:
        for entry in entries:
            entry.path.unlink(missing_ok=True)
            total.bytes -= entry.size_bytes
        for call in {entry.path.parent for entry in entries}:
            with contextlib.suppress(OSError):  # not empty
                call.rmdir()
                call.parent.rmdir()
        return len(entries)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[_Total]:
        """Lock the folder; `_Total.bytes` is stored at the end. Raises OSError, also if another process holds the
        lock."""
        lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(lock)
            text = os.pread(lock, _DIGITS, 0)
            before = int(text) if text.isdigit() else None
            total = _Total(sum(entry.size_bytes for entry in self.entries()) if before is None else before)
            try:
                yield total
            finally:
                if total.bytes != before:
                    os.pwrite(lock, b"%0*d" % (_DIGITS, max(0, total.bytes)), 0)
        finally:
            os.close(lock)


@dataclass(slots=True)
class _Total:
    bytes: int
    """Total size of all files."""


def rfc3339(time: datetime) -> str:
    """Return a time in UTC in RFC 3339, to the millisecond."""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _lock(file: int) -> None:
    for _ in range(round(LOCKED_S / _POLL_S)):
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_POLL_S)
    raise OSError(errno.EBUSY, f"another process has held the folder for {LOCKED_S:g} s")


def _write(path: Path, data: bytes) -> None:
    """Write a new file that only its owner can read, and flush it to the disk. Raises OSError."""
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123  by descriptor
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _entry(path: Path) -> Entry | None:
    """Parse a file's name; return None if it is not one of ours."""
    alert_id, _, leg = path.name.removesuffix(SUFFIX).partition(".")
    if not (leg and _ALERT.fullmatch(alert_id)):
        return None
    facts, owner = path.stat(), path.parent.parent.name
    stored = datetime.fromtimestamp(facts.st_mtime, UTC)
    return Entry(path, None if owner == NOBODY else owner, path.parent.name, leg, alert_id, facts.st_size, stored)
