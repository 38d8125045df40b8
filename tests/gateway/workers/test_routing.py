from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.workers.routing import FIRST_PROCESS, MAX_LINE_BYTES, Route, owner, route_of


@pytest.mark.parametrize(
    ("line", "route"),
    [
        (b"GET /v1/media/plain?call_id=c-1&leg=a HTTP/1.1\r\nHost: x", Route(media=True, call_id="c-1")),
        (b"GET /v1/media/plain?leg=a&call_id=c%2F1 HTTP/1.1\n", Route(media=True, call_id="c/1")),
        (
            b"GET /v1/media/plain?call_id=other&call_id=%20c-1 HTTP/1.1\n",
            Route(media=True, call_id="c-1"),
        ),  # as doors do
        (b"GET http://gw/v1/media/plain?call_id=c-1 HTTP/1.1\r\n", Route(media=True, call_id="c-1")),
        (b"GET /v1/media/twilio HTTP/1.1\r\n", Route(media=True)),
        (b"POST /v1/whip/c-1/caller?role=x HTTP/1.1\r\n", Route(media=True, call_id="c-1")),
        (b"DELETE /v1/whip/c%2D1/caller/s HTTP/1.1\r\n", Route(media=True, call_id="c-1")),
        (b"OPTIONS /v1/whip/ HTTP/1.1\r\n", Route(media=True)),
        (b"GET /v1/calls/c-1 HTTP/1.1\r\n", FIRST_PROCESS),
        (b"GET /v1/events?call_id=c-1 HTTP/1.1\r\n", FIRST_PROCESS),
        (b"GET /v1/media/plain?call_id=c-1 HTTP/1.1", FIRST_PROCESS),  # not the whole line yet, and nothing more comes
        (b"", FIRST_PROCESS),
        (b"\r\n", FIRST_PROCESS),
        (b"GET\r\n", FIRST_PROCESS),
        (b"GET http://[/v1/media/plain HTTP/1.1\r\n", FIRST_PROCESS),
        (b"GET /v1/media/plain?" + b"a=1&" * 200 + b" HTTP/1.1\r\n", FIRST_PROCESS),
        (b"\x16\x03\x01\x02\x00\x01\n", FIRST_PROCESS),  # a TLS handshake
    ],
)
def test_the_request_line_says_where_a_connection_goes(line: bytes, route: Route) -> None:
    assert route_of(line) == route


@given(st.binary(max_size=MAX_LINE_BYTES))
def test_any_bytes_are_routed(head: bytes) -> None:
    assert isinstance(route_of(head), Route)


def test_a_call_always_falls_to_the_same_process_and_calls_spread() -> None:
    counts = Counter(owner(f"call-{number}", 4) for number in range(4_000))
    assert set(counts) == {0, 1, 2, 3}
    assert max(counts.values()) < 1.2 * min(counts.values())
    assert owner("call-1", 4) == owner("call-1", 4)
