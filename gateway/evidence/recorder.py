"""Keeps the last seconds of each leg, and stores those around an alert: FLAC, encrypted, in a thread.  [IO]

Nothing here blocks a call. At most `MAX_WAITING` clips wait to be written; further ones are dropped, counted and
reported, as are those that cannot be written.
"""

from __future__ import annotations

import asyncio
import errno
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from prometheus_client import Counter

from detection import Samples
from detection.types import SAMPLE_RATE_HZ
from gateway import logs
from gateway.evidence.clip import Alert, Clip, Subject
from gateway.evidence.folder import Folder, LimitReached
from gateway.evidence.recent import Excerpt, Recent
from gateway.evidence.settings import EvidenceSettings
from gateway.ingest.events import LegDescription, StreamStarted

BEHIND_S = 5.0
"""Greatest delay of an alert after its audio: a window waits up to 2 s for the light model, and up to 2 s for the
verifier."""
MAX_WAITING = 32
"""Clips in the queue; with the default settings 10 MB."""
FINISH_S = 10.0
"""Time to write the queued clips at the end of the process."""

STORED = "stored"
Reason = Literal["stored", "queue_full", "limit_reached", "disk_full", "write_failed", "no_audio"]
OUTCOMES = Counter(
    "callscreen_evidence_total",
    "Alerts whose audio was to be stored, by outcome.",
    ["outcome"],
)
"""Outcomes: ``stored``, or the reason why not."""
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for the audio around an alert."""

    reason: Reason
    """`STORED`, or why it was not."""
    audio: Excerpt | None
    size_bytes: int | None
    """Size of the encrypted file."""


OnDone = Callable[[Outcome], None]


class Recorder:
    """The part that all legs of this process share: the folder, the keys, and the queue of clips."""

    def __init__(self, settings: EvidenceSettings, encrypt: Callable[[bytes], bytes]) -> None:
        """Raises ConfigError if the folder cannot be used."""
        self._settings = settings
        self._encrypt = encrypt
        self._folder = Folder(settings.folder)
        self._folder.make()
        try:
            self._folder.check()
        except OSError as error:  # possibly a full disk; calls are served anyway
            _log.warning("evidence cannot be written", error=str(error))
        if not self._folder.is_private:
            _log.warning("evidence folder is open to others", folder=str(settings.folder), expected="mode 0700")
        self._queue: asyncio.Queue[tuple[Clip, OnDone]] = asyncio.Queue(MAX_WAITING)
        self._writing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to write. Needs a running loop."""
        self._writing = asyncio.create_task(self._write_all(), name="evidence")

    async def finish(self) -> None:
        """Write the queued clips within a deadline; nothing is reported afterwards."""
        try:
            async with asyncio.timeout(FINISH_S):
                await self._queue.join()
        except TimeoutError:
            _log.error("evidence lost: it cannot be written in time", clips=self._queue.qsize())
        await self.close()

    async def close(self) -> None:
        """Stop writing."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)

    def of_leg(
        self, stream: StreamStarted, leg: LegDescription, left_out: Callable[[float, float], bool]
    ) -> LegEvidence:
        """Return the evidence of a leg.

        Args:
            stream: the leg's stream.
            leg: the leg.
            left_out: returns whether nothing may be kept between two media times.
        """
        subject = Subject(stream.call_id, leg.leg, stream.tenant, leg.role, stream.source)
        return LegEvidence(self, self._settings, subject, left_out)

    def offer(self, clip: Clip, on_done: OnDone) -> None:
        """Queue a clip without waiting; `on_done` is called on the loop after it was written, or could not be."""
        try:
            self._queue.put_nowait((clip, on_done))
        except asyncio.QueueFull:
            self.report(clip.subject, clip.alert, Outcome("queue_full", clip.audio, None), on_done)

    def report(self, subject: Subject, alert: Alert, outcome: Outcome, on_done: OnDone) -> None:
        """Count and log the outcome for an alert's audio, and pass it on."""
        OUTCOMES.labels(outcome.reason).inc()
        facts = {"call_id": subject.call_id, "leg": subject.leg, "alert_id": alert.alert_id}
        if outcome.reason == STORED:
            _log.info("evidence stored", **facts, size_bytes=outcome.size_bytes)
        else:
            _log.warning("evidence not stored", **facts, reason=outcome.reason)
        on_done(outcome)

    async def _write_all(self) -> None:
        while True:
            clip, on_done = await self._queue.get()
            try:
                outcome = await asyncio.to_thread(self._write, clip)
                self.report(clip.subject, clip.alert, outcome, on_done)
            finally:
                self._queue.task_done()

    def _write(self, clip: Clip) -> Outcome:
        """Encode, encrypt and store a clip; runs in a thread."""
        subject = clip.subject
        try:
            data = self._encrypt(clip.flac())
            entry = (subject.tenant, subject.call_id, subject.leg, clip.alert.alert_id)
            self._folder.write(entry, data, self._settings.max_bytes)
        except LimitReached:
            return Outcome("limit_reached", clip.audio, None)
        except OSError as error:
            _log.warning("evidence cannot be written", error=str(error))
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            return Outcome("disk_full" if is_full else "write_failed", clip.audio, None)
        except Exception:  # a bug must not end the task
            _log.exception("evidence cannot be written")
            return Outcome("write_failed", clip.audio, None)
        return Outcome("stored", clip.audio, len(data))


class LegEvidence:
    """The last seconds of one leg, and the alerts whose audio is incomplete."""

    def __init__(
        self,
        recorder: Recorder,
        settings: EvidenceSettings,
        subject: Subject,
        left_out: Callable[[float, float], bool],
    ) -> None:
        self._recorder = recorder
        self._before_s, self._after_s = settings.before_s, settings.after_s
        self._subject = subject
        self._left_out = left_out
        self._recent = Recent(settings.before_s + BEHIND_S)
        self._pending: list[tuple[Alert, OnDone]] = []

    def add(self, start_s: float, samples: Samples) -> None:
        """Add the leg's next audio, as in `gateway.call.leg.Run`."""
        if self._left_out(start_s, start_s + len(samples) / SAMPLE_RATE_HZ):
            return
        self._recent.push(start_s, samples)
        self._store(self._recent.end_s - self._after_s)

    def capture(self, alert: Alert, on_done: OnDone) -> None:
        """Store the audio around an alert as soon as it is complete; `on_done` gets the outcome."""
        self._pending.append((alert, on_done))
        self._store(self._recent.end_s - self._after_s)

    def end(self) -> None:
        """Called when no more audio will come: store what there is."""
        self._store(math.inf)

    def _store(self, up_to_s: float) -> None:
        """Store the audio around alerts up to a position; keep that of the others."""
        if not self._pending:
            return
        ready = [one for one in self._pending if one[0].at_s <= up_to_s]
        self._pending = [one for one in self._pending if one[0].at_s > up_to_s]
        for alert, on_done in ready:
            audio = self._recent.cut(alert.at_s - self._before_s, alert.at_s + self._after_s)
            if audio is None:
                self._recorder.report(self._subject, alert, Outcome("no_audio", None, None), on_done)
            else:
                self._recorder.offer(Clip(self._subject, alert, audio), on_done)
        self._recent.hold_from(min((alert.at_s - self._before_s for alert, _ in self._pending), default=None))
