"""What our helpdesk expects of the gateway that listens to its calls."""

import pytest

from sim.testing import listener, synthetic


def test_a_machine_that_calls_us_is_alerted_on(place_call, expect_alert):
    call = place_call(caller=synthetic("flite_slt"), duration_s=60)
    expect_alert(call, on="caller", within_s=50)


def test_nobody_is_alerted_on_while_the_caller_hears_music(place_call, expect_no_alert):
    music = [{"kind": "hold-music", "at_s": 1.0, "duration_s": 18.0}]
    call = place_call(caller=listener(), us=listener(sound=music), duration_s=20)
    expect_no_alert(call)
    assert call.verdict("us") == "indeterminate"


@pytest.mark.callscreen_gateway(expected_machine=[{"leg": "voicemail"}])
def test_our_voicemail_may_be_a_machine(place_call, expect_no_alert):
    call = place_call(voicemail=synthetic("flite_slt", alert=False), duration_s=30)
    expect_no_alert(call, on="voicemail")


def test_the_scenario_of_last_weeks_incident(play_scenario, expect_alert):
    calls = play_scenario("incident.toml")
    expect_alert(calls["incident"], on="inbound")
