"""What the policy in force comes to for a leg, and that a wrong one changes nothing."""

from __future__ import annotations

import pytest

from detection import Policy
from gateway.call.policies import ModelRules, Policies
from gateway.errors import ConfigError
from gateway.ingest.events import AudioFormat, CallId, LegDescription, LegId, StreamStarted
from gateway.policy import parse

LEG = LegDescription(LegId("a"), AudioFormat("mulaw", 8_000), "agent")
STREAM = StreamStarted(CallId("c"), "twilio", (LEG,))
ALONE, FUSED = ModelRules(Policy(raise_p=0.95), "light"), ModelRules(Policy(raise_p=0.98), "fused")


def test_without_a_policy_file_models_and_settings_apply() -> None:
    both = Policies(ALONE, FUSED).for_leg(STREAM, LEG)
    assert (both.rules, both.calibration, both.verifier) == (FUSED.rules, "fused", True)
    assert (both.screen, both.version) == (True, None)
    alone = Policies(ALONE, None).for_leg(STREAM, LEG)
    assert (alone.rules, alone.calibration, alone.verifier) == (ALONE.rules, "light", False)


def test_values_of_a_rule_replace_those_of_models_and_settings() -> None:
    text = '[[rule]]\nrole = "agent"\nalert_p = 0.9\nclear_p = 0.4\nmin_alert_speech_s = 4\nmin_verdict_speech_s = 3'
    loaded = parse(text, "p.toml")
    leg = Policies(ALONE, FUSED, loaded).for_leg(STREAM, LEG)
    rules = leg.rules
    assert (rules.raise_p, rules.clear_p, rules.min_alert_speech_s, rules.min_verdict_speech_s) == (0.9, 0.4, 4, 3)
    assert (rules.recent_speech_s, leg.version) == (FUSED.rules.recent_speech_s, loaded.version)


def test_a_leg_without_the_verifier_is_judged_by_the_light_models_own_threshold() -> None:
    leg = Policies(ALONE, FUSED, parse('[[rule]]\nrole = "agent"\nverifier = false', "p")).for_leg(STREAM, LEG)
    assert (leg.rules.raise_p, leg.calibration, leg.verifier) == (0.95, "light", False)


def test_a_policy_that_does_not_go_with_the_models_leaves_the_old_one() -> None:
    policies = Policies(ALONE, FUSED, parse("[default]\nclear_p = 0.6", "p"))
    version = policies.version
    with pytest.raises(ConfigError, match=r"clear_p: .* got 0.96 \(default\) and 0.95 \(settings\)"):
        policies.use(parse("[default]\nclear_p = 0.96", "p"))
    assert (policies.version, policies.for_leg(STREAM, LEG).rules.clear_p) == (version, 0.6)
