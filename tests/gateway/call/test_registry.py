"""How much one gateway, one tenant and one call may take up, over real sockets."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from websockets.asyncio.client import connect

from gateway.app import Server
from tests.gateway.conftest import Serve
from tests.gateway.wire import SILENCE, closed, subscribed, ws_url

pytestmark = pytest.mark.usefixtures("detector")


def leg(server: Server, name: str, call_id: str = "c-1", door: str = "plain") -> connect:
    return connect(ws_url(server, f"/v1/media/{door}?call_id={call_id}&leg={name}"))


async def test_the_number_of_legs_per_call_is_limited(serve: Serve) -> None:
    server = await serve()
    async with subscribed(server) as events, AsyncExitStack() as stack:
        for number in range(16):
            await (await stack.enter_async_context(leg(server, f"party.{number}"))).send(SILENCE)
            await events.until("leg.started")
        async with leg(server, "party.16") as late:
            assert await closed(late) == (1013, "call_id: expected at most 16 legs in a call, got more")


async def test_calls_with_many_legs_leave_room_for_fewer_calls(serve: Serve) -> None:
    server = await serve(max_calls=2)
    async with subscribed(server) as events, AsyncExitStack() as stack:
        for number in range(4):
            await (await stack.enter_async_context(leg(server, f"party.{number}"))).send(SILENCE)
            await events.until("leg.started")
        async with leg(server, "caller", "c-2") as late:
            assert await closed(late) == (1013, "all 4 legs are taken")


async def test_a_tenants_legs_are_limited_as_its_calls_are(serve: Serve) -> None:
    doors = {name: {"dialect": "plain", "tenant": name} for name in ("blue", "red")}
    server = await serve(max_calls_per_tenant=1, doors=doors)
    async with subscribed(server) as events, AsyncExitStack() as stack:
        for number in range(2):
            await (await stack.enter_async_context(leg(server, f"party.{number}", door="blue"))).send(SILENCE)
            await events.until("leg.started")
        async with leg(server, "party.2", door="blue") as late:
            assert await closed(late) == (1013, "all 2 legs of tenant blue are taken")
        async with leg(server, "caller", "c-2", door="red") as other:
            await other.send(SILENCE)
            await events.until("leg.started", tenant="red")


async def test_a_late_leg_does_not_extend_the_limit_of_a_call(serve: Serve) -> None:
    server = await serve(max_call_s=1.0)
    async with subscribed(server) as events, leg(server, "caller") as caller:
        await caller.send(SILENCE)
        await events.until("leg.started")
        await asyncio.sleep(0.6)
        async with leg(server, "callee") as callee:
            await callee.send(SILENCE)
            assert await closed(callee, within_s=0.8) == (1001, "call_too_long")
        assert await closed(caller) == (1001, "call_too_long")
        ended = await events.until("call.ended")
    assert ended["data"]["verdicts"] == {"caller": "indeterminate", "callee": "indeterminate"}
