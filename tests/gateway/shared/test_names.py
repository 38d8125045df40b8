from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from gateway.config_loading import load
from gateway.errors import ConfigError
from gateway.shared import names
from gateway.shared.settings import NatsSettings

MADE = datetime(2026, 11, 27, 12, 0, 0, 123456, UTC)
STREAM = names.stream_id("callscreen", MADE)


@pytest.mark.parametrize(
    ("call_id", "leg", "end"),
    [
        ("CA1", "inbound", "CA1.inbound"),
        ("a.b@host", "leg-1", "a%2Eb%40host.leg-1"),
        (None, None, "%.%"),
        ("%", "*", "%25.%2A"),
        ("a b", ">", "a%20b.%3E"),
    ],
)
def test_a_subject_has_as_many_parts_whatever_names_are(call_id: str | None, leg: str | None, end: str) -> None:
    subject = names.subject("callscreen", "0123456789ab", call_id, leg)
    assert subject == f"callscreen.events.0123456789ab.{end}"
    assert subject.startswith(names.of_call("callscreen", "0123456789ab", call_id).removesuffix(">"))
    assert subject.startswith(names.of_journal("callscreen", "0123456789ab").removesuffix(">"))


def test_a_cursor_is_one_of_its_stream_only() -> None:
    cursor = names.cursor(STREAM, 7)
    assert cursor == f"all-{STREAM}-000000000007"
    assert names.position(STREAM, 7, cursor) == 7
    assert names.position(STREAM, 7, f"{cursor}.0a1b2c3d4e5f") == 7
    unknown = [
        names.cursor(STREAM, 8),  # it was never given out
        names.cursor(names.stream_id("callscreen", MADE.replace(hour=13)), 7),
        names.cursor(names.stream_id("other", MADE), 7),
        f"{STREAM}-000000000007",
        "0123456789ab-000000000007",
        f"all-{STREAM}-",
        "",
    ]
    assert [names.position(STREAM, 7, one) for one in unknown] == [None] * len(unknown)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "nats.url: Field required"),
        ({"url": "http://127.0.0.1:4222"}, "nats: url: expected nats://HOST:PORT or tls://HOST:PORT"),
        ({"url": "nats://me:hidden@h:1"}, "nats: url: expected no credentials in it"),
        ({"url": "http://me:hidden@h:1"}, "nats: url: expected nats://HOST:PORT or tls://HOST:PORT"),
        ({"url": "nats://h:1", "stream": "a.b"}, "nats.stream: String should match pattern"),
        ({"url": "nats://h:1", "user": "me"}, "user, password: expected both or neither"),
        ({"url": "nats://h:1", "token": "t", "credentials": "f"}, "user, token, credentials: expected at most one"),
        ({"url": "nats://h:1", "urls": "x"}, "nats.urls: there is no such setting"),
    ],
)
def test_settings_that_cannot_be_used_are_named(given: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError) as fault:
        load(environ={}, nats=given)
    assert told in str(fault.value)
    assert "hidden" not in str(fault.value)


def test_servers_of_a_cluster_are_separated_by_commas() -> None:
    assert NatsSettings.model_validate({"url": "nats://a:4222, tls://b:4222"}).servers == [
        "nats://a:4222",
        "tls://b:4222",
    ]
    with pytest.raises(ValidationError):
        NatsSettings.model_validate({"url": "nats://a:4222,"})
