from __future__ import annotations

from pathlib import Path

import pytest

from sim.files import SHIPPED, load
from sim.inprocess import check_settings
from sim.network import PERFECT
from sim.scenario import Scenario, ScenarioError

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
        ("name =", "network = {loss = 0.9, burst = 2}\nname =", r"burst: expected 1, or at least 9"),
        (
            "name =",
            "network = {reorder = 0.1}\nname =",
            r"call\[0\]\.network: expected loss and jitter_ms only: a websocket keeps the order",
        ),
        (
            '"twilio"',
            '"plain"\nnetwork = {loss = 0.1}',
            r"call\[0\]\.network: expected no loss: plain frames carry no time",
        ),
        ("[[call]]", "[[call]", "expected TOML"),
    ],
)
def test_error_names_the_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in CALL
    with pytest.raises(ScenarioError, match=rf"mine\.toml(:\d+)?: .*{message}"):
        load(write(tmp_path, CALL.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[call.legs.inbound]", 'colour = "red"\n[call.legs.inbound]', r"mine.toml:4: .*`colour`"),
        ('"human"', '"robot"', r"mine.toml:5: .*'robot'"),
        (
            '"human"',
            '"human"\ncodec = ["mp3"]',
            r"mine.toml:6: .*inbound\.codec: expected some of pstn",
        ),
        (
            '"human"',
            '"human"\nclips = ["no.wav"]',
            r"mine.toml:6: .*clips: expected an existing recording.* got 'no.wav'",
        ),
        ('"human"', '"human"\nmanifest = "no.csv"', r"mine.toml:6: .*manifest: expected an existing CSV file"),
        ('"human"', '"human"\nnoise = "brown"', r"mine.toml:6: .*noise: expected white, pink, babble or a recording"),
        ("[call.legs", "[[call.cut]]\nat_s = 50.0\n[call.legs", r"mine.toml:5: .*at_s: expected more than 0 and less"),
        ("[call.legs", "swap_s = [30.0, 20.0]\n[call.legs", r"mine.toml:4: .*swap_s: expected rising times"),
        ("[call.legs", "talk = {turn_s = [3.0, 1.0]}\n[call.legs", r"mine.toml:4: .*talk: expected \[least, most\]"),
        ('"human"', '"human-then-synthetic-then-human"\n[[call]]\nswap_s = 1.0', r"mine.toml"),
    ],
)
def test_error_names_the_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        load(write(tmp_path, CALL.replace(old, new, 1)))


def test_the_line_is_that_of_the_right_call(tmp_path: Path) -> None:
    second = CALL.replace('"a"', '"b"').replace("voice", "voize")
    with pytest.raises(ScenarioError, match=r"mine.toml:10: .*voize"):
        load(write(tmp_path, CALL + second))


def test_paths_are_relative_to_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    leg = load(write(tmp_path, CALL.replace('"human"', '"human"\nclips = ["a.wav"]\nnoise = "a.wav"'))).call[0].legs
    assert leg["inbound"].clips == [str(tmp_path / "a.wav")]
    assert leg["inbound"].noise == str(tmp_path / "a.wav")


@pytest.mark.parametrize("name", sorted(file.stem for file in SHIPPED.glob("*.toml")))
def test_shipped_scenarios_have_a_description_and_valid_settings(name: str) -> None:
    scenario = load(name)
    assert len(scenario.about) > 30
    check_settings(scenario)


def test_call_needs_legs_and_a_unique_name(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"call\[1\]\.name: expected unique names, got 'a-2' twice"):
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
