"""Every setting is described in words, and every example is accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.commands.settings_help import SettingHelp, all_settings, as_text
from gateway.config_loading import load
from gateway.evidence.settings import EXAMPLE_KEY

TABLES = {
    "doors.NAME": "",
    "rtp.NAME": 'listen = "127.0.0.1:5004"\nallow_ips = ["127.0.0.0/8"]\nlegs = {a = {}}\n',
    "rtp.NAME.legs.LEG": "",
    "audiosocket": "",
    "shadow": "",
    "evidence": f'folder = "evidence"\npublic_keys = ["{EXAMPLE_KEY}"]\n',
    "audiosocket.uuids.UUID": 'call_id = "a"\nleg = "b"\n',
    "sip": 'udp = "127.0.0.1:5060"\nallow_ips = ["127.0.0.0/8"]\ntls_certificate = "a.pem"\ntls_key = "a.key"\n',
    "expected_machine": 'leg = "outbound"\nparameter = "ivr"\n',
    "rate_limits": "",
    "nats": 'url = "nats://127.0.0.1:4222"\n',
    "jwt": 'jwks_file = "jwks.json"\nissuer = "https://id.example.com/"\naudience = "callscreen"\n',
    "webhooks": 'name = "a"\nurl = "https://example.com/"\nsecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"\n',
    "tokens": f'name = "desk"\nsha256 = "{"0" * 64}"\nscopes = ["subscribe"]\n',
}
"""What else a table needs, for an example of one of its settings to be complete."""
BESIDE = {
    "tls_cert": 'tls_key = "k"\n',
    "tls_key": 'tls_cert = "c"\n',
    "nats.user": 'password = "b"\n',
    "nats.password": 'user = "a"\n',
}
"""What must stand beside a setting."""
INSTEAD = {"jwks_url": "jwks_file", "secret_env": "secret", "secret_file": "secret"}
"""What a setting stands in place of."""
LISTS = ("expected_machine", "tokens", "webhooks")
"""Those tables of which there may be several, without names."""
HEADS = {
    "rtp.NAME.legs.LEG": '[rtp.NAME]\nlisten = "127.0.0.1:5004"\n',
    "expected_machine": "",
}


def in_a_file(setting: SettingHelp) -> str:
    table, _, key = setting.name.rpartition(".")
    if not table:
        return setting.example + ("" if key == "token" else '\ntoken = "t"\n') + BESIDE.get(key, "")
    key_of = {"NAME": "telnyx", "LEG": "a", "UUID": "40325ec2-5efd-4bd3-805f-53576e581d13"}
    needed = "".join(
        line + "\n" for line in TABLES[table].splitlines() if line.partition(" ")[0] not in (key, INSTEAD.get(key))
    )
    head = f"[[{table}]]" if table in LISTS else f"[{table}]"
    text = f"{HEADS.get(table, '')}{head}\n{needed}{setting.example}\n{BESIDE.get(setting.name, '')}"
    for name, value in key_of.items():
        text = text.replace(f".{name}", f".{value}")
    return text


@pytest.mark.parametrize("setting", all_settings(), ids=lambda setting: setting.name)
def test_a_setting_is_described_and_its_example_is_accepted(setting: SettingHelp, tmp_path: Path) -> None:
    assert len(setting.description) > 10
    assert setting.example or setting.default
    if setting.example:
        file = tmp_path / "callscreen.toml"
        file.write_text(in_a_file(setting))
        load(file, environ={})


def test_tables_are_listed_with_their_settings() -> None:
    text = as_text()
    for words in ("doors.NAME.allow_ips", "sip.users", "rtp.NAME.legs.LEG.ssrc", "audiosocket.uuids.UUID.role"):
        assert f"  {words}\n" in text
    assert "number, more than 0" in text
    assert "at most 1000000000" in text
    assert "one of debug, info, warning, error" in text
