"""The policy file: what is refused, with its line; which rule holds for a leg."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import get_args

import pytest

from gateway.errors import ConfigError
from gateway.ingest.events import AudioFormat, CallId, LegDescription, LegId, StreamStarted
from gateway.ingest.kinds import KINDS
from gateway.policy import MAX_RULES, PolicyFile, Resolved, Source, facts_of, parse, read

EXAMPLE = """\
[default]
alert_p = 0.98
min_verdict_speech_s = 2

[[rule]]
name = "agents"
role = "agent"
screen = false

[[rule]]
tenant = "blue"
alert_p = 0.9
verifier = false

[[rule]]
tenant = "blue"
band = "narrow"
alert_p = 0.95

[[rule]]
source = "twilio"
role = "agent"
screen = true
"""


def held(text: str, **facts: str) -> dict[str, Resolved]:
    return parse(text, "p.toml").policy.resolve(facts)


@pytest.mark.parametrize(
    ("facts", "key", "value", "origin"),
    [
        ({}, "alert_p", 0.98, "default"),
        ({"tenant": "blue"}, "alert_p", 0.9, "rule 2"),
        ({"tenant": "blue", "band": "narrow"}, "alert_p", 0.95, "rule 3"),
        ({"tenant": "blue", "band": "narrow"}, "verifier", False, "rule 2"),
        ({"tenant": "blue", "band": "narrow"}, "min_verdict_speech_s", 2, "default"),
        ({"role": "agent"}, "screen", False, "agents"),
        ({"role": "agent", "source": "twilio"}, "screen", True, "rule 4"),
        ({"role": "agent", "source": "sip"}, "screen", False, "agents"),
    ],
)
def test_for_each_key_the_most_specific_rule_holds(facts: dict[str, str], key: str, value: float, origin: str) -> None:
    assert held(EXAMPLE, **facts)[key] == Resolved(value, origin)


def test_among_equals_the_last_one_holds_and_what_nobody_gives_is_absent() -> None:
    text = '[[rule]]\nrole = "caller"\nalert_p = 0.9\n[[rule]]\nband = "wide"\nalert_p = 0.8'
    assert held(text, role="caller", band="wide")["alert_p"] == Resolved(0.8, "rule 2")
    assert held(text, role="callee") == {}


def test_the_facts_of_a_leg() -> None:
    def facts(rate_hz: int, tenant: str | None) -> dict[str, str]:
        leg = LegDescription(LegId("a"), AudioFormat("s16le", rate_hz), "agent", "sent_to_party")
        return facts_of(StreamStarted(CallId("c"), "plain", (leg,), tenant=tenant), leg)

    blue = {"role": "agent", "leg": "a", "direction": "sent_to_party", "band": "narrow", "tenant": "blue"}
    assert facts(8_000, "blue") == {"source": "plain"} | blue
    assert facts(16_000, None)["band"] == "wide"
    assert "tenant" not in facts(16_000, None)


def test_every_source_can_be_named() -> None:
    assert set(get_args(Source)) == {*KINDS, "audiosocket", "rtp", "sip", "siprec", "whip"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("alert_p = 0.9", "p.toml:1: alert_p: there is no such key; expected one of default, rule"),
        ("[default]\n\nalert = 0.9", "p.toml:3: default.alert: there is no such key; expected one of alert_p, clear_p"),
        ("[default]\nalert_p = 1.5", "p.toml:2: default.alert_p: Input should be less than 1, got 1.5"),
        (
            "[default]\nalert_p = 0.3",
            "p.toml:2: default.alert_p: Input should be greater than or equal to 0.5",
        ),
        ("[default]\nmin_alert_speech_s = 10", "p.toml:2: default.min_alert_speech_s: Input should be less than or eq"),
        ("[default]\nmin_verdict_speech_s = inf", "p.toml:2: default.min_verdict_speech_s: Input should be a finite"),
        ("[default]\nalert_p = nan", "p.toml:2: default.alert_p: Input should be"),
        ('[default]\nscreen = "no"', "p.toml:2: default.screen: Input should be a valid boolean, got 'no'"),
        (
            '[[rule]]\nrole = "agent"\nscreen = true\n[[rule]]\nscreen = true\nrole = "boss"',
            "p.toml:6: rule 2.role: Input should be 'caller', 'callee', 'agent', 'customer' or 'unknown', got 'boss'",
        ),
        ('[[rule]]\nsource = "twillio"\nscreen = true', "p.toml:2: rule 1.source: Input should be 'asterisk'"),
        ("[[rule]]\nscreen = true", "p.toml:1: rule 1: expected at least one of source, role, leg, direction, band, t"),
        ('[[rule]]\nrole = "agent"', "p.toml:1: rule 1: expected at least one of alert_p, clear_p"),
        ("[default]\nalert_p = oops\n", "p.toml: not TOML: Invalid value (at line 2, column 11)"),
        (
            "[default]\nalert_p = 0.6\nclear_p = 0.7",
            "p.toml: clear_p: expected less than alert_p, got 0.7 (default) and",
        ),
    ],
)
def test_errors_name_file_line_and_key(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(text, "p.toml")
    assert str(error.value).startswith(says)
    assert "\n" not in str(error.value)


def test_every_mistake_has_a_line_and_rules_are_bounded() -> None:
    with pytest.raises(ConfigError) as error:
        parse("[default]\na = 1\nb = 2", "p.toml")
    assert [line.partition(" ")[0] for line in str(error.value).splitlines()] == ["p.toml:2:", "p.toml:3:"]
    with pytest.raises(ConfigError, match=f"rule: Tuple should have at most {MAX_RULES} items"):
        parse('[[rule]]\nrole = "agent"\nscreen = true\n' * (MAX_RULES + 1), "p.toml")


@pytest.mark.parametrize(
    ("rules", "fault"),
    [
        (
            '[[rule]]\nrole = "agent"\nclear_p = 0.8\n[[rule]]\nband = "wide"\nalert_p = 0.7',
            "0.8 (rule 1) and 0.7 (rule 2)",
        ),
        ('[[rule]]\nrole = "agent"\nclear_p = 0.8\n[[rule]]\nrole = "caller"\nalert_p = 0.7', None),  # never meet
        ('[[rule]]\nrole = "agent"\nclear_p = 0.97', "0.97 (rule 1) and 0.95 (settings)"),
        ('[[rule]]\nrole = "agent"\nalert_p = 0.55', "0.6 (settings) and 0.55 (rule 1)"),
        ('[[rule]]\nrole = "agent"\nclear_p = 0.97\nalert_p = 0.99', None),
        ('[default]\nalert_p = 0.99\n[[rule]]\nrole = "agent"\nclear_p = 0.97', None),
    ],
)
def test_thresholds_must_fit_wherever_rules_meet(rules: str, fault: str | None) -> None:
    policy = PolicyFile.model_validate(tomllib.loads(rules))
    if fault is None:
        policy.check_thresholds(0.95, 0.6)
    else:
        with pytest.raises(ConfigError) as error:
            policy.check_thresholds(0.95, 0.6)
        assert str(error.value) == f"clear_p: expected less than alert_p, got {fault}"


def test_a_file_is_read_and_its_version_is_that_of_its_text(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(EXAMPLE)
    first = read(file).version
    assert (len(first), read(file).version) == (12, first)
    file.write_text(EXAMPLE + "# a remark\n")
    assert read(file).version != first
    with pytest.raises(ConfigError, match=r"none\.toml: No such file"):
        read(tmp_path / "none.toml")
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"policy\.toml: not TOML"):
        read(file)


def test_of_many_mistakes_the_first_20_are_listed() -> None:
    text = "[default]\n" + "".join(f"no_such_key_{number} = 1\n" for number in range(3000))
    with pytest.raises(ConfigError) as refused:
        parse(text, "policy.toml")
    *told, last = str(refused.value).splitlines()
    assert [line.partition(": ")[0] for line in told] == [f"policy.toml:{number}" for number in range(2, 22)]
    assert last == "policy.toml: and 2980 more"
