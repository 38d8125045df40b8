"""The way of one audio frame through the gateway, step by step: the executable map.

Read it beside the folder names. Each step is the real part; what one returns is what the next one takes.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from detection import Activity, AlertState, Decider, Policy, Score, Windower, open_detector
from gateway.alerts.bus import Bus
from gateway.alerts.event import AlertRaised
from gateway.alerts.journal import Journal
from gateway.alerts.subscription import Filter
from gateway.call.leg import Leg
from gateway.client.codecs import encode
from gateway.ingest.dialects.twilio import Twilio
from gateway.ingest.events import AudioReceived, StreamStarted
from tests.gateway.loudness import speech
from tests.gateway.wire import twilio_media, twilio_start


async def test_one_frame(tmp_path: Path) -> None:
    # 1. ingest/dialects: messages off the socket -> events. The leg is named here, once.
    dialect = Twilio()
    (started,) = dialect.receive(twilio_start("CA1", ("inbound",), role_inbound="caller"))
    assert isinstance(started, StreamStarted)
    (description,) = started.legs
    wire = encode(speech(10, synthetic=True)[::2], "mulaw")
    payloads = [wire[at : at + 160] for at in range(0, len(wire), 160)]
    events = [
        event
        for index, payload in enumerate(payloads)
        for event in dialect.receive(twilio_media(index, payload=payload))
    ]

    # 2. call/leg: payloads -> ordered, continuous audio at 16 kHz, with its place in media time.
    leg = Leg(description.format)
    runs = [run for event in events if isinstance(event, AudioReceived) for run in leg.push(event)] + leg.flush()
    assert sum(len(run.samples) for run in runs) == 10 * 16_000

    # 3. detection/windows and activity: audio -> overlapping windows, and how much of each is speech.
    detector = open_detector()
    windower = Windower(detector.window_s, detector.hop_s, Activity())
    windows = [window for run in runs for window in windower.push(run.start_s, run.samples, run.gap_s)]
    assert all(window.speech_s > 1 for window in windows)

    # 4. detection/features and detector: windows -> calibrated log-odds of "synthetic".
    frontend = detector.frontend()
    log_odds = [float(detector.score(frontend.inputs(window)[None]).log_odds[0]) for window in windows]

    # 5. detection/decision: evidence adds up -> a change of the alert, most of the time none.
    #    The evidence is overstated here, for the map must not depend on how good today's model is.
    decider = Decider(Policy())
    changes = [
        decider.update(Score(w.start_s, w.end_s, w.speech_s, w.fresh_speech_s, abs(value) + 3))
        for w, value in zip(windows, log_odds, strict=True)
    ]
    raised = next(change for change in changes if change)
    assert raised.state is AlertState.PROVISIONAL

    # 6. alerts: event -> journal -> subscriber.
    journal = await asyncio.to_thread(Journal, tmp_path / "journal.sqlite3", 1000)
    bus = Bus(journal)
    bus.start()
    alert = AlertRaised(
        call_id=started.call_id,
        leg=description.leg,
        speaker=description.leg,
        role=description.role,
        media_time_s=raised.at_s,
        p_synthetic=raised.p_synthetic,
        speech_s=raised.speech_s,
        model=detector.name,
        reason=raised.reason,
        alert_id="a-1",
        stage="provisional",
        lag_ms=0,
    )
    with bus.subscribe(Filter()) as subscription:
        reading = asyncio.ensure_future(anext(subscription))
        await asyncio.sleep(0)
        bus.publish(alert)
        text = await reading
    await bus.close()
    await asyncio.to_thread(journal.close)
    event = json.loads(text)
    assert (event["type"], event["subject"], event["data"]["role"]) == ("alert.raised", "CA1/inbound", "caller")
