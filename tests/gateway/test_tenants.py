"""Two tenants on one gateway: neither sees anything of the other, live, later, or by guessing ids."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from gateway.app import Server
from tests.gateway.auth.test_tokens import bearer, row
from tests.gateway.conftest import Serve
from tests.gateway.wire import SILENCE, TWILIO_STOP, closed, refused, twilio_start, ws_url

TENANTS = ("blue", "red")
TOKENS = [
    *(row(tenant, "ingest", "subscribe") | {"tenant": tenant} for tenant in TENANTS),
    row("desk", "subscribe"),
]


async def until_end_of(socket: ClientConnection, *call_ids: str) -> list[dict[str, Any]]:
    """Return all events up to the end of these calls."""
    events: list[dict[str, Any]] = []
    ended: set[str] = set()
    async with asyncio.timeout(10):
        while not ended.issuperset(call_ids):
            event = json.loads(await socket.recv())
            events.append(event)
            if event["type"] == "call.ended":
                ended.add(event["data"]["call_id"])
    return events


def owners(events: list[dict[str, Any]]) -> set[tuple[str, str | None]]:
    return {(event["data"]["call_id"], event["data"].get("tenant")) for event in events if event["type"] != "heartbeat"}


def media(server: Server, tenant: str, call_id: str) -> connect:
    return connect(ws_url(server, f"/v1/media/plain?call_id={call_id}&leg=caller"), additional_headers=bearer(tenant))


def events(server: Server, name: str, query: str = "") -> connect:
    return connect(ws_url(server, f"/v1/events{query}"), additional_headers=bearer(name))


async def listed(web: httpx.AsyncClient, name: str) -> list[dict[str, Any]]:
    """Return the calls that a token shows."""
    calls: list[dict[str, Any]] = (await web.get("/v1/calls", headers=bearer(name))).json()["calls"]
    return calls


async def check_history(server: Server) -> None:
    """What has ended is no more seen by others than what is live."""
    async with httpx.AsyncClient(base_url=server.url) as web:
        for name, seen in (("blue", {"b-1"}), ("red", {"r-1"}), ("desk", {"b-1", "r-1"})):
            ended = await listed(web, name)
            assert ({call["call_id"] for call in ended}, any(call["live"] for call in ended)) == (seen, False)
        for path in ("r-1", "r-1/timeline", "r-1/timeline.svg"):
            answers = [await web.get(f"/v1/calls/{path}", headers=bearer(name)) for name in ("blue", "red")]
            assert [answer.status_code for answer in answers] == [404, 200]


@pytest.mark.usefixtures("detector")
async def test_a_tenant_sees_its_own_calls_only(serve: Serve) -> None:
    server = await serve(tokens=TOKENS, heartbeat_s=60)
    async with events(server, "blue") as blue, events(server, "red") as red, events(server, "desk") as desk:
        async with (
            media(server, "blue", "b-1") as of_blue,
            media(server, "red", "r-1") as of_red,
            httpx.AsyncClient(base_url=server.url) as web,
        ):
            await of_blue.send(SILENCE)
            await of_red.send(SILENCE)
            live = {
                name: sorted(call["call_id"] for call in (await listed(web, name))) for name in ("blue", "red", "desk")
            }
            assert live == {"blue": ["b-1"], "red": ["r-1"], "desk": ["b-1", "r-1"]}
            foreign = await web.get("/v1/calls/r-1", headers=bearer("blue"))
            nothing = await web.get("/v1/calls/x-1", headers=bearer("blue"))
            assert foreign.status_code == nothing.status_code == 404
            assert foreign.json()["detail"].replace("r-1", "x-1") == nothing.json()["detail"]
            assert (await web.get("/v1/calls/b-1", headers=bearer("blue"))).json()["tenant"] == "blue"
            async with media(server, "red", "b-1") as intruder:
                code, reason = await closed(intruder)
                assert (code, reason.partition(";")[0]) == (4403, "call_id: a live call of another tenant has this id")
        seen = [await until_end_of(blue, "b-1"), await until_end_of(red, "r-1")]
        assert [owners(some) for some in seen] == [{("b-1", "blue")}, {("r-1", "red")}]
        assert {event["type"] for event in seen[0]} == {"call.started", "leg.started", "leg.ended", "call.ended"}
        everything = await until_end_of(desk, "b-1", "r-1")
        assert owners(everything) == {("b-1", "blue"), ("r-1", "red")}

    await check_history(server)
    # From the journal: each tenant gets its own events, from another tenant's cursor, too; asked for by id as well.
    first = everything[0]["id"]
    async with media(server, "blue", "b-2") as of_blue:
        await of_blue.send(SILENCE)
    async with events(server, "blue", f"?last_event_id={first}") as blue:
        assert owners(await until_end_of(blue, "b-2")) == {("b-1", "blue"), ("b-2", "blue")}
    async with events(server, "red", f"?last_event_id={first}&call_id=b-1") as red, media(server, "red", "b-1") as own:
        await own.send(SILENCE)  # the id is free again; what is told of the call is told of red's alone
        await own.close()
        assert owners(await until_end_of(red, "b-1")) == {("b-1", "red")}

    # Ended calls: each tenant's own, though an id is in use by both.
    async with httpx.AsyncClient(base_url=server.url) as web:
        for name, ended in (("blue", {"b-1", "b-2"}), ("red", {"r-1", "b-1"})):
            calls = (await web.get("/v1/calls", headers=bearer(name))).json()["calls"]
            assert {(call["call_id"], call["tenant"]) for call in calls} == {(call_id, name) for call_id in ended}
            assert (await web.get("/v1/calls/b-1", headers=bearer(name))).json()["tenant"] == name
        for path in ("/v1/calls/b-2", "/v1/calls/b-2/timeline", "/v1/calls/b-2/timeline.svg"):
            statuses = [(await web.get(path, headers=bearer(name))).status_code for name in ("blue", "red", "desk")]
            assert statuses == [200, 404, 200], path
        timeline = (await web.get("/v1/calls/b-1/timeline", headers=bearer("red"))).json()
        assert timeline["tenant"] == "red"


@pytest.mark.usefixtures("detector")
async def test_a_token_of_one_tenant_does_not_open_the_endpoint_of_another(serve: Serve) -> None:
    server = await serve(tokens=TOKENS, doors={"plain": {"tenant": "red"}})
    path = ws_url(server, "/v1/media/plain?call_id=c&leg=caller")
    status, problem = await refused(path, additional_headers=bearer("blue"))
    assert (status, problem["title"]) == (403, "Forbidden")
    async with connect(path, additional_headers=bearer("red")) as own:
        await own.send(SILENCE)


@pytest.mark.usefixtures("detector")
async def test_the_tenant_of_the_token_has_precedence_over_the_peers(serve: Serve) -> None:
    server = await serve(tokens=TOKENS, doors={"twilio": {"tenant_parameter": "org"}})
    async with events(server, "blue") as blue:
        async with connect(ws_url(server, "/v1/media/twilio"), additional_headers=bearer("blue")) as own:
            await own.send(twilio_start("CA1", org="red"))
            await own.send(TWILIO_STOP)
        assert owners(await until_end_of(blue, "CA1")) == {("CA1", "blue")}
