"""Calls on a virtual clock, against a gateway of this process that judges by loudness: loud is synthetic."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gateway import clock
from gateway.alerts.cloud_event import CloudEvent
from sim import inprocess, report
from sim.__main__ import main
from sim.clips import from_folder
from sim.live import Screen
from sim.network import Network
from sim.play import Play, play_virtually
from sim.scenario import FIXED_LEGS, CallPlan, Cut, LegPlan, Scenario, ScenarioError, Sound
from tests.sim.test_alerts import HUMAN, SYNTHETIC, loudness, voices

pytestmark = pytest.mark.usefixtures("by_loudness")


@pytest.fixture
def by_loudness(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with loudness(monkeypatch):
        yield


@pytest.fixture
def people(tmp_path: Path) -> Path:
    return voices(tmp_path / "clips", quiet="human", loud="synthetic")


def play(scenario: Scenario, people: Path) -> Play:
    return play_virtually(scenario, from_folder(people), Console(file=StringIO()))


def test_the_same_seed_gives_the_same_report_to_the_bit(people: Path, tmp_path: Path) -> None:
    bad = Network(loss=0.05, burst=2.0, jitter_ms=50.0)
    plans = [
        CallPlan("t", "twilio", {"inbound": SYNTHETIC, "outbound": HUMAN}, duration_s=20.0, network=bad),
        CallPlan("p", "plain", {"caller": HUMAN}, count=2, every_s=1.5, duration_s=5.0),
    ]
    written = []
    for number, seed in enumerate((3, 3, 4)):
        played = play(Scenario(plans, name="x", seed=seed), people)
        report.write(tmp_path / str(number), played.scenario, played.results, played.figures, played.failure)
        written.append((tmp_path / str(number) / "report.json").read_bytes())
    assert written[0] == written[1]
    assert json.loads(written[0])["legs"] != json.loads(written[2])["legs"]
    assert json.loads(written[0])["legs"][0]["observed"]["missing_s"] > 0.3


def test_every_attach_point_keeps_the_speakers_apart(people: Path) -> None:
    tracks, streams = {"inbound": SYNTHETIC, "outbound": HUMAN}, {"a": SYNTHETIC, "b": HUMAN}
    legs: dict[Any, dict[str, LegPlan]] = dict.fromkeys(FIXED_LEGS, tracks)
    legs |= {"exotel": {"caller": SYNTHETIC}, "plain": streams, "livekit": streams}
    played = play(Scenario([CallPlan(name, name, legs[name], duration_s=30.0) for name in legs], seed=1), people)
    assert played.failure is None
    told = {(result.transport, result.leg): result.faults for result in played.results}
    assert told == {(name, leg): () for name in legs for leg in legs[name]}


def test_roles_are_told_to_the_gateway(people: Path) -> None:
    legs = {"inbound": LegPlan("human", role="customer"), "outbound": LegPlan("human", role="agent")}
    plain = {"x": LegPlan("human", role="callee")}
    plans = [CallPlan("t", "twilio", legs, duration_s=5.0), CallPlan("p", "plain", plain, duration_s=5.0)]
    assert [r.observed.role for r in play(Scenario(plans), people).results] == ["customer", "agent", "callee"]


def test_cut_call_continues_under_its_call_id(people: Path) -> None:
    legs = {"inbound": LegPlan("synthetic", ended_by="stopped"), "outbound": HUMAN}
    cut = [Cut(at_s=8.0, back_after_s=2.0)]
    (inbound, outbound) = play(Scenario([CallPlan("c", "twilio", legs, duration_s=50.0, cut=cut)]), people).results
    assert (inbound.faults, outbound.faults) == ((), ())
    assert inbound.observed.sessions == 2
    dropped = {"inbound": LegPlan("human", ended_by="disconnected")}
    (leg,) = play(Scenario([CallPlan("c", "twilio", dropped, cut=[Cut(at_s=8.0)])]), people).results
    assert (leg.faults, leg.observed.sessions) == ((), 1)


def test_a_restarted_gateway_is_called_again(people: Path) -> None:
    plan = CallPlan("c", "plain", {"a": SYNTHETIC, "b": HUMAN}, duration_s=60.0, reconnect_s=0.5)
    played = play(Scenario([plan], restart_s=[10.0], restart_takes_s=2.0), people)
    assert played.failure is None
    assert [(r.faults, r.observed.sessions) for r in played.results] == [((), 2), ((), 2)]
    alone = CallPlan("c", "plain", {"a": HUMAN}, duration_s=30.0)
    failed = play(Scenario([alone], restart_s=[10.0], restart_takes_s=2.0), people)
    assert failed.failure is not None
    assert "shutdown" in failed.failure


def test_an_expected_prompt_is_no_alarm(people: Path) -> None:
    prompt = Sound("ivr", at_s=1.0, duration_s=14.0)
    leg = LegPlan("none", sound=[prompt], verdict=["expected_machine"])
    plan = CallPlan("c", "twilio", {"outbound": leg}, duration_s=20.0)
    scenario = Scenario([plan], gateway={"expected_machine": [{"leg": "outbound"}]})
    (result,) = play(scenario, people).results
    assert (result.faults, result.observed.expected_voice) == ((), True)
    (undeclared,) = play(Scenario([plan]), people).results
    assert [fault.split(":")[0] for fault in undeclared.faults] == ["false alarm", "verdict"]


def test_refusal_fails_only_the_refused_call(people: Path) -> None:
    plan = CallPlan("n", "twilio", {"inbound": HUMAN}, count=2, duration_s=5.0)
    played = play(Scenario([plan], gateway={"max_calls": 1}), people)
    assert [result.passed for result in played.results] == [True, False]
    assert played.failure is not None
    assert "all 1 calls are taken" in played.failure


def test_a_wrong_setting_is_one_line(people: Path) -> None:
    scenario = Scenario([CallPlan("n", "twilio", {"inbound": HUMAN})], gateway={"max_cals": 1})
    with pytest.raises(ScenarioError, match=r"^gateway: max_cals: there is no such setting"):
        play(scenario, people)
    with pytest.raises(ScenarioError, match="max_cals"):
        inprocess.check_settings(scenario)


def test_real_clock_is_restored(people: Path) -> None:
    play(Scenario([CallPlan("n", "twilio", {"inbound": HUMAN}, duration_s=5.0)]), people)
    assert clock.utc_now().year >= 2026
    assert clock.utc_now() > inprocess.BEGAN
    assert clock.thread_cpu_s() > 0


def test_ctrl_c_writes_a_partial_report(people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call = '[[call]]\nname = "{}"\ntransport = "plain"\nduration_s = {}\nlegs.caller.voice = "human"\n'

    def interrupt(_screen: Screen, event: CloudEvent, _received_s: float) -> None:
        if event.type == "leg.ended":
            monkeypatch.undo()  # once: a second Ctrl-C waits for no report
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Screen, "on_event", interrupt)
    file = tmp_path / "two.toml"
    file.write_text(call.format("short", 5) + call.format("long", 50))
    assert main(["run", str(file), "--clips", str(people), "--report", str(tmp_path)]) == 130
    told = json.loads((tmp_path / "report.json").read_text())
    assert told["partial"] is True
    assert told["failure"] == "1 of 2 calls were not played to their end; long.virtual: interrupted"
    assert [leg["faults"] for leg in told["legs"]] == [[], ["not played: interrupted"]]
