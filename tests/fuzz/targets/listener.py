"""Who listens behind the dialects: legs as the gateway makes them, whose windows are scored on the spot."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from detection import Policy, Score, Window
from gateway.alerts.bus import Bus
from gateway.alerts.cloud_event import envelope
from gateway.alerts.event import EventData
from gateway.call.crosstalk import Crosstalk
from gateway.call.load import Load
from gateway.call.policies import Judge, Policies
from gateway.call.scorer import ScoredLeg, Scorer
from gateway.call.session import Engine, LegSession
from gateway.clock import utc_now
from gateway.errors import BadMessage, ProtocolError
from gateway.ingest.doors import Door
from gateway.ingest.events import AudioReceived, IngestEvent, LegId, StreamStarted
from gateway.pace import media
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
        event = envelope(data, event_id="j-1", source="/callscreen/j", time=utc_now(), sequence="1")
        event.model_dump_json(exclude_none=True).encode()


class Ears:
    """One stream, from its start to its end."""

    def __init__(self) -> None:
        detector = LoudnessDetector()
        self._judging = Engine(
            detector,
            cast("Scorer", _Scorer(detector)),
            Policies(Judge(Policy(raise_p=0.9), None), None),
            cast("Bus", _Bus()),
            Load(lambda: 0.0),
        )
        self._legs: dict[LegId, LegSession] = {}
        self._payload_bytes = 0

    def take(self, events: Iterable[IngestEvent]) -> None:
        """Have the events their effect. Raises ProtocolError as the gateway's own stream does."""
        for event in events:
            if isinstance(event, StreamStarted):
                admitted = DOOR.admit(event)
                crosstalk = Crosstalk()
                assert not self._legs, "a stream starts once"
                for leg in admitted.legs:
                    self._legs[leg.leg] = LegSession(
                        admitted, leg, self._judging, crosstalk, media(2.0, 30.0), lambda _leg: None
                    )
            elif isinstance(event, AudioReceived):
                self._payload_bytes += len(event.payload)
                self._legs[event.leg].receive(event)

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

    def end(self, *, came_bytes: int) -> None:
        """End the stream; not more audio came out of the messages than was in them."""
        for leg in self._legs.values():
            leg.close("stopped")
            leg.state()
        assert self._payload_bytes <= came_bytes
