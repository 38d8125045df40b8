"""Who listens behind the dialects: a reader of what they hear, or whole legs, whose windows are scored on the spot."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import cast

from detection import Policy, Score, Window
from gateway.alerts.bus import Bus
from gateway.alerts.cloud_event import envelope
from gateway.alerts.event import EventData, LegStarted
from gateway.call.crosstalk import Crosstalk
from gateway.call.load import Load
from gateway.call.policies import ModelRules, Policies
from gateway.call.scorer import ScoredLeg, Scorer
from gateway.call.session import Engine, LegSession
from gateway.clock import utc_now
from gateway.errors import BadMessage, ProtocolError
from gateway.ingest.codecs import Decoder, open_decoder
from gateway.ingest.doors import Door
from gateway.ingest.events import AudioReceived, IngestEvent, LegId, Separation, StreamStarted
from gateway.pace import media
from tests.gateway.alerts.events import facts
from tests.gateway.loudness import LoudnessDetector

DOOR = Door.model_validate({"allow_mixed": True, "max_call_s": 60.0})


class _Scorer:
    """Scores at once, where the gateway has a thread."""

    def __init__(self, detector: LoudnessDetector) -> None:
        self._detector = detector

    def offer(self, leg: ScoredLeg, window: Window, received_s: float) -> None:
        said = self._detector.score(leg.frontend.inputs(window)[None])
        leg.scored(window, Score.of(window, said.log_odds[0], said.narrow[0]), received_s)


class _Bus:
    """Writes each event as it would go out, and keeps none."""

    def publish(self, data: EventData) -> None:
        _write(data)


def _write(data: EventData) -> None:
    event = envelope(data, event_id="j-1", source="/callscreen/j", time=utc_now(), sequence="1")
    event.model_dump_json(exclude_none=True).encode()


class Listener:
    """One stream, from its start to its end."""

    def __init__(self) -> None:
        self._payload_bytes = 0

    def take(self, events: Iterable[IngestEvent]) -> None:
        """Have the events their effect. Raises ProtocolError as the gateway's own stream does."""
        for event in events:
            if isinstance(event, StreamStarted):
                self.started(DOOR.admit(event))
            elif isinstance(event, AudioReceived):
                self._payload_bytes += len(event.payload)
                self.heard(event)

    def take_tolerantly(self, events: Iterable[IngestEvent]) -> bool:
        """As `take`, event by event, without those that cannot be decoded; False when the stream is over."""
        for event in events:
            try:
                self.take([event])
            except BadMessage:
                continue
            except ProtocolError:
                return False
        return True

    def started(self, stream: StreamStarted) -> None:
        """A stream was let in."""
        raise NotImplementedError

    def heard(self, audio: AudioReceived) -> None:
        """A payload came."""
        raise NotImplementedError

    def end(self, *, came_bytes: int) -> None:
        """End the stream; not more audio came out of the messages than was in them."""
        assert self._payload_bytes <= came_bytes


@functools.lru_cache(maxsize=100)
def _write_start(  # once for each: most inputs say the same
    source: str, call_id: str, separation: Separation, tenant: str | None, leg: str, role: str, direction: str
) -> None:
    of_leg = facts(call_id, leg, role=role, tenant=tenant)
    started = LegStarted(
        **of_leg, source=source, separation=separation, direction=direction, encoding="mulaw", rate_hz=8000
    )
    _write(started)


class Reader(Listener):
    """Holds what is heard against what `gateway.ingest.events` says of it, and listens to none of it: that is quick."""

    def __init__(self) -> None:
        super().__init__()
        self._legs: dict[LegId, Decoder] = {}

    def started(self, stream: StreamStarted) -> None:
        """The formats can be decoded, and what the stream is called can be written into an event."""
        assert not self._legs, "a stream starts once"
        for leg in stream.legs:
            self._legs[leg.leg] = open_decoder(leg.format)
            _write_start(
                stream.source, stream.call_id, stream.separation, stream.tenant, leg.leg, leg.role, leg.direction
            )
        assert len(self._legs) == len(stream.legs), "no two legs have one name"
        assert all(type(text) is str for pair in stream.parameters.items() for text in pair)

    def heard(self, audio: AudioReceived) -> None:
        """The payload is one of the leg's codec, at a place in time. Raises BadMessage."""
        assert type(audio.payload) is bytes
        assert audio.seq is None or type(audio.seq) is int
        assert audio.start_ms is None or math.isfinite(audio.start_ms)
        if audio.payload:
            self._legs[audio.leg].samples_in(audio.payload)


class Ears(Listener):
    """Has legs as the gateway makes them: decoded, cut into windows, scored, and events written."""

    def __init__(self) -> None:
        super().__init__()
        detector = LoudnessDetector()
        self._engine = Engine(
            detector,
            cast("Scorer", _Scorer(detector)),
            Policies(ModelRules(Policy(raise_p=0.9), None), None),
            cast("Bus", _Bus()),
            Load(lambda: 0.0),
        )
        self._legs: dict[LegId, LegSession] = {}

    def started(self, stream: StreamStarted) -> None:
        """Make the legs."""
        crosstalk = Crosstalk()
        assert not self._legs, "a stream starts once"
        for leg in stream.legs:
            self._legs[leg.leg] = LegSession(stream, leg, self._engine, crosstalk, media(2.0, 30.0), lambda _leg: None)

    def heard(self, audio: AudioReceived) -> None:
        """Have the leg hear it. Raises ProtocolError."""
        self._legs[audio.leg].receive(audio)

    def end(self, *, came_bytes: int) -> None:
        """End the stream, and each leg with its verdict."""
        for leg in self._legs.values():
            leg.close("stopped")
            leg.state()
        super().end(came_bytes=came_bytes)
