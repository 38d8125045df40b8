"""What a policy does to calls, over real sockets."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.policy import read
from tests.gateway.conftest import Serve
from tests.gateway.loudness import speech
from tests.gateway.wire import plain, say, subscribed

pytestmark = pytest.mark.usefixtures("detector")


async def test_each_leg_has_the_policy_of_its_role(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(
        '[[rule]]\nrole = "agent"\nscreen = false\n[[rule]]\nrole = "callee"\nalert_p = 0.99999\nverifier = false\n'
    )
    server = await serve(policy=file, verifier="the same again")
    legs = ("caller", "callee", "agent")
    async with subscribed(server, "?type=score,leg.started,leg.ended,alert.raised,alert.verified,call.ended") as events:
        async with (
            plain(server, "caller") as caller,
            plain(server, "callee") as callee,
            plain(server, "agent") as agent,
        ):
            await asyncio.gather(*(say(media, speech(10, synthetic=True)) for media in (caller, callee, agent)))
            await events.until("alert.raised", leg="caller", stage="confirmed")
        await events.until("call.ended")
    of = {leg: [event for event in events.seen if event["data"]["leg"] == leg] for leg in legs}
    started = {leg: next(one["data"] for one in of[leg] if one["type"] == "leg.started") for leg in legs}
    ended = {leg: next(one["data"] for one in of[leg] if one["type"] == "leg.ended") for leg in legs}
    assert {started[leg]["policy"] for leg in legs} == {read(file).version}
    assert [started[leg]["screened"] for leg in legs] == [True, True, False]
    assert started["callee"]["calibration"] == "loudness" != started["caller"]["calibration"]
    assert {event["type"] for event in of["callee"]} == {"leg.started", "score", "leg.ended"}
    assert "alert.verified" in {event["type"] for event in of["caller"]}
    assert [event["type"] for event in of["agent"]] == ["leg.started", "leg.ended"]
    told = ended["agent"]
    assert (told["verdict"], told["reason"], told["windows_scored"]) == ("indeterminate", "not_screened", 0)
    assert told["audio_s"] > 0 == len(told["coverage_reduced"])
    assert told["speech_s"] > 0
    assert ended["caller"]["verdict"] == "synthetic"


async def test_a_policy_that_is_wrong_stops_the_start(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    with pytest.raises(ConfigError, match="No such file"):
        await serve(policy=file)
    file.write_text("[default]\nclear_p = 0.95")
    with pytest.raises(ConfigError, match=r"policy.toml: clear_p: .* 0.95 \(default\) and 0.9 \(settings\)"):
        await serve(policy=file)
