"""Machines that are expected: whom a declaration is about, when, and what becomes of the alert."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from gateway.call.expected import Expectation, ExpectedMachine
from gateway.ingest.events import AudioFormat, CallId, LegDescription, LegId, StreamStarted
from tests.gateway.conftest import Serve
from tests.gateway.loudness import speech
from tests.gateway.wire import plain, say, subscribed

LEG = LegDescription(LegId("outbound"), AudioFormat("mulaw", 8000), role="callee")
STREAM = StreamStarted(CallId("c-1"), "twilio", (LEG,), parameters={"ivr": "main"})


@pytest.mark.parametrize(
    ("declared", "concerned"),
    [
        ({"leg": "outbound"}, True),
        ({"leg": "inbound"}, False),
        ({"role": "callee"}, True),
        ({"role": "caller"}, False),
        ({"parameter": "ivr"}, True),
        ({"parameter": "voicemail"}, False),
        ({"parameter": "ivr", "value": "main"}, True),
        ({"parameter": "ivr", "value": "night"}, False),
        ({"leg": "outbound", "role": "callee", "parameter": "ivr"}, True),
        ({"leg": "outbound", "role": "agent"}, False),
    ],
)
def test_all_that_is_given_must_fit(declared: dict[str, Any], concerned: bool) -> None:
    machine = ExpectedMachine.model_validate(declared)
    assert machine.concerns(STREAM, LEG) is concerned
    assert Expectation([machine], STREAM, LEG).covers(0, 3) is concerned


def test_a_window_that_only_touches_the_stretch_is_not_covered() -> None:
    declared = [{"role": "callee", "from_s": 10, "to_s": 20}, {"leg": "x"}]
    prompts = Expectation(map(ExpectedMachine.model_validate, declared), STREAM, LEG)
    spans = [(0, 3), (7, 10), (8, 11), (12, 15), (19, 22), (20, 23), (30, 33)]
    assert [prompts.covers(*span) for span in spans] == [False, False, True, True, True, False, False]
    assert not Expectation([], STREAM, LEG).covers(0, 3)


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ({"to_s": 8}, "at least one of leg, role and parameter"),
        ({"leg": "a", "value": "b"}, "value: expected a parameter"),
        ({"leg": "a", "from_s": 8, "to_s": 8}, "to_s: expected more than from_s"),
        ({"role": "boss"}, "role"),
        ({"legs": "a"}, "legs"),
    ],
)
def test_invalid_settings_are_refused_by_field(declared: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        ExpectedMachine.model_validate(declared)


@pytest.mark.usefixtures("detector")
async def test_an_expected_machine_is_reported_and_never_raises_an_alert(serve: Serve) -> None:
    server = await serve(expected_machine=[{"leg": "callee"}])
    async with subscribed(server) as events, plain(server, "caller") as caller, plain(server, "callee") as callee:
        await asyncio.gather(say(caller, speech(10, synthetic=True)), say(callee, speech(10, synthetic=True)))
        await events.until("alert.raised", leg="caller", stage="confirmed")
        await caller.close()
        await callee.close()
        await events.until("call.ended")
    (told,) = (event["data"] for event in events.seen if event["type"] == "voice.expected")
    assert (told["leg"], told["reason"]) == ("callee", "expected_synthetic")
    assert told["p_synthetic"] > 0.9
    assert {event["data"]["leg"] for event in events.seen if event["type"] == "alert.raised"} == {"caller"}
    ended = {event["data"]["leg"]: event["data"] for event in events.seen if event["type"] == "leg.ended"}
    assert (ended["callee"]["verdict"], ended["callee"]["reason"]) == ("expected_machine", "expected_synthetic")
    assert events.seen[-1]["data"]["verdicts"] == {"caller": "synthetic", "callee": "expected_machine"}
    assert (ended["callee"]["alerts"], ended["caller"]["reason"]) == (0, "alert_confirmed")
    assert ended["callee"]["windows_scored"] == ended["caller"]["windows_scored"]


@pytest.mark.usefixtures("detector")
@pytest.mark.parametrize(("then_synthetic", "verdict"), [(False, "human"), (True, "synthetic")])
async def test_a_greeting_is_no_evidence_on_the_next_speaker(serve: Serve, then_synthetic: bool, verdict: str) -> None:
    server = await serve(expected_machine=[{"leg": "callee", "to_s": 8.0}])
    async with subscribed(server) as events, plain(server, "callee") as callee:
        await say(callee, np.concatenate((speech(8, synthetic=True), speech(8, synthetic=then_synthetic))))
        await callee.close()
        ended = (await events.until("leg.ended"))["data"]
    assert ended["verdict"] == verdict
    alerts = [event["data"]["media_time_s"] for event in events.seen if event["type"] == "alert.raised"]
    assert bool(alerts) is then_synthetic
    assert all(at_s > 11 for at_s in alerts)
    assert any(event["type"] == "voice.expected" for event in events.seen)
