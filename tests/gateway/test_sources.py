"""How often one source may ask: over real sockets, and by the clock."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import httpx
import pytest

from gateway.errors import TooManyRequests
from gateway.sources import Sources
from tests.gateway.conftest import Serve
from tests.gateway.wire import refused, ws_url


def let_in(sources: Sources, address: str, now_s: float, tries: int = 1) -> int:
    """Return how many of so many requests at once are let in."""
    allowed = 0
    for _ in range(tries):
        try:
            sources.take(address, now_s)
        except TooManyRequests:
            continue
        allowed += 1
    return allowed


def limits(**rates: float) -> dict[str, Any]:
    return {"rate_limits": rates | {"exempt": []}}


@pytest.mark.usefixtures("detector")
async def test_a_limited_source_is_told_when_to_retry(serve: Serve) -> None:
    server = await serve(**limits(requests_per_s=0.01))
    async with httpx.AsyncClient(base_url=server.url) as web:
        assert (await web.get("/healthz")).status_code == 200
        late = await web.get("/healthz")
        assert (late.status_code, late.headers["content-type"]) == (429, "application/problem+json")
        assert 0 < int(late.headers["retry-after"]) <= 100
        assert late.json()["detail"] == "requests: expected at most 0.01 a second of one address"
        behind = {"X-Forwarded-For": "192.0.2.9"}
        assert [(await web.get("/healthz", headers=behind)).status_code for _ in range(2)] == [200, 429]
    status, problem = await refused(ws_url(server, "/v1/events"))
    assert (status, problem["title"]) == (429, "TooManyRequests")


@pytest.mark.usefixtures("detector")
async def test_offers_have_a_limit_of_their_own(serve: Serve) -> None:
    server = await serve(**limits(offers_per_s=0.01))
    async with httpx.AsyncClient(base_url=server.url) as web:
        statuses = [(await web.post("/v1/whip/c/leg", content="no offer")).status_code for _ in range(2)]
        assert statuses == [415, 429]
        assert (await web.get("/v1/calls")).status_code == 200


@pytest.mark.usefixtures("detector")
async def test_this_machine_has_no_limit_unless_it_is_given_one(serve: Serve) -> None:
    server = await serve(rate_limits={"requests_per_s": 0.01})
    async with httpx.AsyncClient(base_url=server.url) as web:
        assert {(await web.get("/healthz")).status_code for _ in range(5)} == {200}


def test_a_bucket_fills_and_drains() -> None:
    sources = Sources("things", 2.0, ())
    assert let_in(sources, "192.0.2.1", 100.0, tries=50) == 20, "ten seconds' worth at once"
    assert let_in(sources, "192.0.2.2", 100.0) == 1, "another source is another matter"
    with pytest.raises(TooManyRequests) as fault:
        sources.take("192.0.2.1", 100.2)
    assert fault.value.retry_after_s == 1
    assert let_in(sources, "192.0.2.1", 101.0, tries=9) == 2, "what was refused did not count"
    assert let_in(sources, "192.0.2.1", 1000.0, tries=50) == 20


def test_the_table_is_bounded_and_drops_the_least_recent_source() -> None:
    sources = Sources("things", 0.1, (), max_sources=3)
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
        assert let_in(sources, address, 0.0, tries=2) == 1
    assert let_in(sources, "192.0.2.1", 0.0) == 0
    assert let_in(sources, "192.0.2.4", 0.0) == 1
    assert len(sources) == 3
    assert let_in(sources, "192.0.2.1", 0.0) == 0, "it was heard lately, so it is remembered"
    assert let_in(sources, "192.0.2.2", 0.0) == 1, "it was forgotten"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("not an address", "not an address", True),
    ],
)
def test_what_is_one_source(one: str, other: str, same: bool) -> None:
    sources = Sources("things", 0.1, ())
    assert let_in(sources, one, 0.0) == 1
    assert let_in(sources, other, 0.0) == (0 if same else 1)


def test_networks_without_a_limit() -> None:
    sources = Sources("things", 0.1, (ip_network("10.0.0.0/8"), ip_network("::1/128")))
    assert [let_in(sources, address, 0.0, tries=5) for address in ("10.1.2.3", "::1", "192.0.2.1")] == [5, 5, 1]
    assert len(sources) == 1
