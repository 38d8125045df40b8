"""Settings of endpoints, signatures, and which addresses are of the open internet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.alerts.event import STORED_TYPES
from gateway.config_loading import load
from gateway.errors import ConfigError
from gateway.webhooks import signature
from gateway.webhooks.addresses import is_public
from gateway.webhooks.settings import TYPES, Webhook
from tests.gateway.webhooks.receiver import SECRET

GOOD: dict[str, Any] = {"name": "desk", "url": "https://hooks.example.com/x", "secret": SECRET}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"url": "hooks.example.com"}, "url: expected https://host/path"),
        ({"url": "https://"}, "url: expected https://host/path"),
        ({"url": "https://hooks.example.com:99999"}, "url: expected https://host/path"),
        ({"url": "https://[::1"}, "url: expected https://host/path"),
        ({"url": "ftp://hooks.example.com/x"}, "url: expected https://host/path"),
        ({"url": "https://hooks.exämple.com/x"}, "url: expected https://host/path"),
        ({"url": "http://hooks.example.com/x"}, "url: expected https; http only with `allow_private`"),
        ({"url": "https://me:pass@hooks.example.com/x"}, "url: expected neither user nor fragment"),
        ({"secret": None}, "secret: expected one of secret, secret_env, secret_file"),
        ({"secret_env": "X"}, "secret: expected one of secret, secret_env, secret_file"),
        ({"secret": "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, "secret: expected whsec_ and 24 to 64 bytes in base64"),
        ({"secret": "whsec_c2hvcnQ="}, "secret: expected whsec_ and 24 to 64 bytes in base64"),
        ({"events": ["score"]}, "events"),
        ({"events": []}, "events"),
        ({"name": "a b"}, "name"),
        ({"urls": "https://hooks.example.com"}, "there is no such setting"),
    ],
)
def test_a_mistake_is_named_and_no_secret_shown(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    one = {key: value for key, value in (GOOD | change).items() if value is not None}
    with pytest.raises(ConfigError) as fault:
        load(environ={}, webhooks=[one])
    assert told in str(fault.value)
    assert "MfKQ" not in str(fault.value)
    assert "pass@" not in str(fault.value)


def test_two_webhooks_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"webhooks\.name: expected a unique name for each, got 'desk' twice"):
        load(environ={}, webhooks=[GOOD, GOOD])


def test_the_secret_may_be_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    monkeypatch.setenv("DESK_SECRET", SECRET)
    rest = {"name": "desk", "url": "https://hooks.example.com/x"}
    keys = [Webhook.model_validate(rest | where).key() for where in (
        {"secret": SECRET}, {"secret_env": "DESK_SECRET"}, {"secret_file": file},
    )]  # fmt: skip
    assert keys == [signature.key_of(SECRET)] * 3
    for where, told in (
        ({"secret_env": "NO_SUCH"}, "webhooks.desk.secret_env: the environment variable NO_SUCH is not set"),
        ({"secret_file": tmp_path / "none"}, "webhooks.desk.secret_file: No such file"),
    ):
        with pytest.raises(ConfigError, match=told):
            Webhook.model_validate(rest | where).key()


def test_all_events_but_scores_can_be_delivered() -> None:
    assert set(TYPES) == set(STORED_TYPES) - {"score"}


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "198.18.0.1", "240.0.0.1", "::1", "::", "fe80::1%eth0", "fd00::1", "ff02::1",
        "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:db8::1",
    ],
)  # fmt: skip
def test_addresses_of_private_networks_and_other_uses(address: str) -> None:
    assert not is_public(address)
