from __future__ import annotations

from pathlib import Path

import pytest

from sim.network import PERFECT
from sim.scenario import SHIPPED, Scenario, ScenarioError, load

CALL = '[[call]]\nname = "a"\ntransport = "twilio"\n[call.legs.inbound]\nvoice = "human"\n'


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_defaults(tmp_path: Path) -> None:
    scenario = load(write(tmp_path, CALL))
    (plan,) = scenario.call
    assert (scenario.name, scenario.seed, scenario.speed) == ("mine", 0, 1.0)
    assert (plan.count, plan.start_s, plan.duration_s, plan.swap_s, plan.network) == (1, 0.0, 40.0, None, PERFECT)
    assert plan.names == ["a"]
    assert not plan.legs["inbound"].expects_alert


@pytest.mark.parametrize(
    ("leg", "expected"),
    [
        ('voice = "human"', False),
        ('voice = "synthetic"', True),
        ('voice = "human-then-synthetic"', True),
        ('voice = "synthetic"\nalert = false', False),
        ('voice = "human"\nalert = true', True),
    ],
)
def test_the_expectation_follows_the_voice_unless_it_is_stated(tmp_path: Path, leg: str, expected: bool) -> None:
    scenario = load(write(tmp_path, CALL.replace('voice = "human"', leg)))
    assert scenario.call[0].legs["inbound"].expects_alert is expected


@pytest.mark.parametrize("name", sorted(file.stem for file in SHIPPED.glob("*.toml")))
def test_every_shipped_scenario_can_be_read(name: str) -> None:
    assert load(name).name == name


def test_the_demo_shows_what_it_promises() -> None:
    demo = load("demo")
    voices = [sorted(leg.voice for leg in plan.legs.values()) for plan in demo.call]
    assert len(demo.call) >= 4
    assert {plan.transport for plan in demo.call} == {"twilio", "plain", "webrtc"}
    assert all(len(plan.legs) == 2 for plan in demo.call)
    assert ["human", "human"] in voices
    assert ["human", "synthetic"] in voices
    assert ["human", "human-then-synthetic"] in voices
    assert max(plan.start_s + plan.duration_s for plan in demo.call) < 100


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[[call]]", 'colour = "red"\n[[call]]', "unknown field `colour`"),
        ("name =", "durations = 1\nname =", r"unknown field `durations`.*call\[0\]"),
        ("voice =", "voices =", r"`voices`.*legs"),
        ('voice = "human"', 'voice = "robot"', r"Invalid enum value 'robot'.*voice"),
        ('"twilio"', '"sip"', r"'sip'.*transport"),
        ("name =", "count = 0\nname =", r">= 1.*count"),
        ('name = "a"', 'name = "a b"', r"regex.*name"),
        ("[[call]]", "speed = 0\n[[call]]", r"> 0.*speed"),
        ("[call.legs.inbound]", "[call.legs.caller]", r"call\[0\]\.legs: Twilio's legs are inbound and outbound"),
        ("name =", "swap_s = 40.0\nname =", r"call\[0\]\.swap_s: expected less than duration_s \(40\)"),
        ("name =", "network = {loss = 1.5}\nname =", r"<= 1.0.*network\.loss"),
        ("name =", "network = {loss = 0.9, burst = 2}\nname =", r"burst: expected 1, or more"),
        ("name =", "network = {reorder = 0.1}\nname =", r"call\[0\]\.network: a websocket keeps order"),
        ('"twilio"', '"plain"\nnetwork = {loss = 0.1}', r"call\[0\]\.network: plain frames carry no time"),
        ("[[call]]", "[[call]", "not TOML"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in CALL
    with pytest.raises(ScenarioError, match=rf"mine\.toml: .*{message}"):
        load(write(tmp_path, CALL.replace(old, new)))


def test_a_call_needs_legs_and_a_name_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"call\[1\]\.name: 'a-2' is the name of another call"):
        load(write(tmp_path, CALL.replace('"a"', '"a-2"') + CALL.replace("name =", "count = 3\nname =")))
    with pytest.raises(ScenarioError, match=r"call\[0\]\.legs: expected at least one leg"):
        load(write(tmp_path, '[[call]]\nname = "a"\ntransport = "plain"\nlegs = {}\n'))
    with pytest.raises(ScenarioError, match="at least one"):
        load(write(tmp_path, "call = []\n"))


def test_a_scenario_that_is_not_there_lists_the_shipped_ones() -> None:
    with pytest.raises(ScenarioError, match=r"nowhere: No such file or directory \(shipped scenarios: .*demo"):
        load("nowhere")


def test_webrtc_runs_in_real_time_only(tmp_path: Path) -> None:
    webrtc = CALL.replace('"twilio"', '"webrtc"')
    assert load(write(tmp_path, webrtc)).at_speed(None).speed == 1.0
    with pytest.raises(ScenarioError, match="speed: WebRTC calls run in real time only, got 2"):
        load(write(tmp_path, webrtc)).at_speed(2.0)
    with pytest.raises(ScenarioError, match="WebRTC"):
        load(write(tmp_path, "speed = 2.0\n" + webrtc))


def test_the_speed_can_be_changed(tmp_path: Path) -> None:
    scenario: Scenario = load(write(tmp_path, CALL))
    assert scenario.at_speed(4.0).speed == 4.0
    for speed in (0.0, -1.0, float("nan")):
        with pytest.raises(ScenarioError, match="speed: expected more than 0"):
            scenario.at_speed(speed)
