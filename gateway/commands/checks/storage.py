"""Checks of the journal, its disk, the clock that dates its events, and the folder of the evidence.  [IO]"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from gateway.alerts.cloud_event import CloudEvent
from gateway.alerts.journal_look import look
from gateway.commands.checks.finding import Finding
from gateway.config import Settings
from gateway.errors import ConfigError
from gateway.evidence.folder import Folder
from gateway.evidence.settings import EvidenceSettings

EVENT_BYTES = 800
"""Size of one event on disk, with its share of the indices."""
LEAST_FREE_BYTES = 100_000_000
CLOCK_TOLERANCE = timedelta(minutes=1)


def journal(settings: Settings) -> Iterator[Finding]:
    """Look at the journal, or check that it can be created; nothing is written."""
    folder = settings.journal.absolute().parent
    if settings.journal.exists():
        try:
            found = look(settings.journal)
        except ConfigError as error:
            yield Finding("journal", "error", str(error))
        else:
            layout = "" if found.is_current else f"; `serve` will migrate its layout, of version {found.version}"
            yield Finding("journal", "ok" if found.is_current else "note", f"{settings.journal} can be written{layout}")
    elif folder.is_dir() and os.access(folder, os.W_OK):
        yield Finding("journal", "ok", f"{settings.journal} will be created")
    else:
        yield Finding("journal", "error", f"expected a folder that can be written, got {folder}")


def disk(settings: Settings) -> Iterator[Finding]:
    """Compare the free space with the largest size that the journal can reach."""
    folder = settings.journal.absolute().parent
    if not folder.is_dir():
        return
    taken = settings.journal.stat().st_size if settings.journal.exists() else 0
    wanted = max(LEAST_FREE_BYTES, settings.journal_max_events * EVENT_BYTES - taken)
    free = shutil.disk_usage(folder).free
    detail = f"{free / 1e9:.1f} GB are free; the journal may take {wanted / 1e9:.1f} GB more (`journal_max_events`)"
    yield Finding("journal: disk", "ok" if free >= wanted else "warning", detail)


def clock(settings: Settings) -> Iterator[Finding]:
    """Compare the clock with the newest event: a clock that is behind dates events wrongly, and retention is late."""
    if not settings.journal.exists():
        return
    try:
        newest = look(settings.journal).newest
        made = CloudEvent.model_validate_json(newest).time if newest else None
    except (ConfigError, ValueError):  # `journal` reports the error
        return
    if made and made > datetime.now(UTC) + CLOCK_TOLERANCE:
        yield Finding("clock", "warning", f"behind the journal's newest event, of {made:%Y-%m-%d %H:%M} UTC")
    else:
        yield Finding("clock", "ok", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")


def evidence(settings: Settings) -> Iterator[Finding]:
    """Check the keys, and whether the folder can hold what it may hold, for its owner alone."""
    wanted = settings.evidence
    if wanted is None:
        return
    yield _keys(wanted)
    folder, parent = wanted.folder, wanted.folder.absolute().parent
    if not folder.exists():
        if not (parent.is_dir() and os.access(parent, os.W_OK)):
            yield Finding("evidence.folder", "error", f"expected a folder that can be written, got {parent}")
            return
        yield Finding("evidence.folder", "ok", f"{folder} will be created")
        taken = 0
    elif not (folder.is_dir() and os.access(folder, os.W_OK)):
        yield Finding("evidence.folder", "error", f"expected a folder that can be written, got {folder}")
        return
    else:
        private = Folder(folder).is_private
        detail = "for its owner alone" if private else "open to other users of this machine: chmod 700"
        yield Finding("evidence.folder", "ok" if private else "warning", f"{folder} is {detail}")
        taken = sum(entry.size_bytes for entry in Folder(folder).entries())
    wanted_bytes = max(0, wanted.max_bytes - taken)
    free = shutil.disk_usage(folder if folder.exists() else parent).free
    detail = f"{free / 1e9:.1f} GB are free; evidence may take {wanted_bytes / 1e9:.1f} GB more (`evidence.max_bytes`)"
    is_full = taken >= 0.9 * wanted.max_bytes
    yield Finding("evidence: disk", "warning" if is_full or free < wanted_bytes else "ok", detail)


def _keys(wanted: EvidenceSettings) -> Finding:
    try:
        from gateway.evidence.age import encryption

        encryption(wanted.public_keys)
    except ImportError:
        return Finding("evidence", "error", "its package is not installed: pip install 'callscreen[evidence]'")
    except ConfigError as error:
        return Finding("evidence.public_keys", "error", str(error).removeprefix("evidence.public_keys: "))
    return Finding("evidence.public_keys", "ok", f"{len(wanted.public_keys)} key(s); the gateway cannot open its files")
