"""Settings: what wins, what is refused, what is never shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.config import Settings, is_loopback
from gateway.config_loading import load
from gateway.errors import ConfigError


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"CALLSCREEN_{name.upper()}", raising=False)


def in_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "callscreen.toml"
    path.write_text(text)
    return path


def test_command_line_over_environment_over_file_over_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = in_file(tmp_path, "port = 1\nmax_calls = 2\nidle_deadline_s = 3")
    monkeypatch.setenv("CALLSCREEN_MAX_CALLS", "20")
    monkeypatch.setenv("CALLSCREEN_IDLE_DEADLINE_S", "30")
    settings = load(file, idle_deadline_s=300, host=None)
    assert (settings.port, settings.max_calls, settings.idle_deadline_s, settings.host) == (1, 20, 300, "127.0.0.1")


def test_lists_and_tables_come_from_the_environment_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLSCREEN_ROLES", '{"inbound": "caller"}')
    monkeypatch.setenv("CALLSCREEN_ALLOWED_ORIGINS", '["https://desk.example.com"]')
    settings = load()
    assert settings.roles == {"inbound": "caller"}
    assert settings.allowed_origins == ("https://desk.example.com",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("max_call = 3", "max_call: there is no such setting"),
        ("max_calls = 0", "max_calls: expected greater than or equal to 1, got 0"),
        ('port = "ninety"', "port: expected a valid integer"),
        ("alert_p = 1.5", "alert_p: expected less than 1, got 1.5"),
        ("alert_p = 0.9\nalerts_per_hour = 3", "alert_p, alerts_per_hour: expected one of them"),
        ("alerts_per_hour = 0", "alerts_per_hour: expected greater than 0, got 0"),
        ("alert_p = 0.5\nclear_p = 0.6", "clear_p: expected less than alert_p (0.5), got 0.6"),
        ('roles = {inbound = "boss"}', "roles.inbound: expected 'caller', 'callee'"),
        ("[[expected_machine]]\nto_s = 8", "expected_machine.0: expected at least one of leg, role"),
        ("verifier_cpu_share = -0.1", "verifier_cpu_share: expected greater than or equal to 0, got -0.1"),
        ("verifier_cpu_share = 4", "verifier_cpu_share: expected less than or equal to 1, got 4"),
        ("verifier_cpu_share = nan", "verifier_cpu_share: expected a finite number, got nan"),
        ('verifier_cpu_share = "half"', "verifier_cpu_share: expected a valid number"),
        ("verifier_p = 0.9", "verifier_p: this setting was removed: the scores of both models are fused now"),
        (
            "verifier_legs_per_minute = 9",
            "verifier_legs_per_minute: this setting was removed: set `verifier_cpu",
        ),
        ("port =", "not TOML"),
        ('host = "0.0.0.0"', "host: '0.0.0.0' is reachable by others, so `token`, `tokens` or `jwt` must be set"),
        ('host = "0.0.0.0"\ntoken = ""', "token:"),
    ],
)
def test_a_bad_file_is_refused_by_its_key(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as fault:
        load(in_file(tmp_path, text))
    assert says in str(fault.value)


def test_an_unknown_name_in_the_environment_is_refused() -> None:
    with pytest.raises(ConfigError, match="CALLSCREEN_PROT: there is no such setting"):
        load(environ={"CALLSCREEN_PROT": "1", "PATH": "/bin"})
    with pytest.raises(ConfigError, match="CALLSCREEN_VERIFIER_P: this setting was removed: the scores"):
        load(environ={"CALLSCREEN_VERIFIER_P": "0.9"})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: No such file"):
        load(tmp_path / "nowhere.toml")


@pytest.mark.parametrize("values", [{"token": "s3cret"}, {"allow_anonymous": True}])
def test_beyond_loopback_with_a_token_or_on_purpose(values: dict[str, Any]) -> None:
    assert load(host="0.0.0.0", **values).host == "0.0.0.0"


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    assert "s3cret" not in repr(load(in_file(tmp_path, 'token = "s3cret"')))
    with pytest.raises(ConfigError) as fault:
        load(in_file(tmp_path, 'twilio_auth_token = ["s3cret"]'))
    assert "s3cret" not in str(fault.value)
    with pytest.raises(ConfigError, match=r"audiosocket\.secret: .* at least 16 ") as fault:
        load(in_file(tmp_path, 'audiosocket = {secret = "s3cret"}'))
    assert "s3cret" not in str(fault.value)
    with pytest.raises(ConfigError, match=r"rtp\.desk: .*allow_ips") as fault:
        load(in_file(tmp_path, 'rtp.desk = {listen = "10.0.0.5:5004", legs = {a = {}}, srtp_suite = "s3cret"}'))
    assert "s3cret" not in str(fault.value)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("10.0.0.1", False),
        ("gw.example.com", False),
        ("", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
