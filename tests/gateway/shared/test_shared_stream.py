"""Gateways in this process and a real NATS server: what is forwarded, read, refused, and told."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any

import nats
import pytest
from prometheus_client import REGISTRY
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from gateway.alerts.bus import Bus
from gateway.alerts.journal import Journal
from gateway.auth.access import Access
from gateway.client.events import follow
from gateway.shared import node
from gateway.shared.node import SharedStream
from gateway.shared.settings import NatsSettings
from tests.gateway.alerts.events import Served, alert, call_ended, call_started, leg_started, score, served, until
from tests.gateway.commands.test_watch import lines, watching
from tests.gateway.pages.test_client import flags, take
from tests.gateway.shared.nats_server import NatsServer, installed, nats_server

pytestmark = installed
TYPES = ["call.started", "call.ended", "leg.started", "score", "alert.raised"]
ALL = "?scope=all&type=" + ",".join(TYPES)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "RETRY_S", 0.05)
    monkeypatch.setattr(node, "RECHECK_S", 0.05)


class Member:
    """A gateway without calls."""

    def __init__(self, bus: Bus, shared: SharedStream) -> None:
        self.bus = bus
        self.shared = shared

    def talk(self, call_id: str, scores: int = 3) -> None:
        """Publish a call."""
        events = [call_started(call_id), leg_started(call_id)]
        events += [score(call_id=call_id)] * scores + [alert(call_id=call_id), call_ended(call_id)]
        for data in events:
            assert self.bus.publish(data)

    async def forwarded(self) -> None:
        await self.bus.flush()
        await until(lambda: not self.shared.warnings and not self.shared._forwarder.backlog)

    async def told(self) -> list[dict[str, Any]]:
        """Everything that its journal holds."""
        return [json.loads(entry.text) for entry in await self.bus.read(0, 1_000_000)]


@asynccontextmanager
async def member(path: Path, url: str, max_events: int = 100_000, **settings: Any) -> AsyncIterator[Member]:
    journal = await asyncio.to_thread(Journal, path, max_events)
    bus = Bus(journal)
    shared = SharedStream(NatsSettings.model_validate({"url": url} | settings), bus)
    bus.start()
    shared.start()
    try:
        yield Member(bus, shared)
    finally:
        await shared.close()
        await bus.close()
        await asyncio.to_thread(journal.close)


@asynccontextmanager
async def serving(of: Member, **options: Any) -> AsyncIterator[Served]:
    async with served(of.bus, shared=of.shared, **options) as gateway:
        yield gateway


async def read(url: str, events: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(20), connect(url) as socket:
        return [json.loads(await socket.recv()) for _ in range(events)]


async def stored(server: NatsServer, stream: str = "callscreen") -> int:
    client = await nats.connect(server.url)
    try:
        return (await client.jetstream().stream_info(stream)).state.messages
    finally:
        await client.close()


def without_cursor(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in event.items() if name != "cursor"} for event in events]


async def test_a_subscriber_sees_events_of_other_gateways(tmp_path: Path) -> None:
    async with (
        nats_server(tmp_path / "nats") as server,
        member(tmp_path / "a", server.url) as a,
        member(tmp_path / "b", server.url) as b,
        serving(b) as gateway,
    ):
        a.talk("a.1")
        await a.forwarded()
        b.talk("b-1")
        await b.forwarded()
        first = f"all-{b.shared._link.stream_id}-000000000000"  # type: ignore[union-attr]
        seen = await read(f"{gateway.url}{ALL}&last_event_id={first}", 14)
        assert without_cursor(seen) == await a.told() + await b.told()
        assert [int(event["cursor"].rpartition("-")[2]) for event in seen] == list(range(1, 15))
        rest = await read(f"{gateway.url}{ALL}&last_event_id={seen[9]['cursor']}", 4)
        assert rest == seen[10:]
        one = await read(f"{gateway.url}?scope=all&call_id=b-1&last_event_id={first}", 4)
        assert [event["type"] for event in one] == ["call.started", "leg.started", "alert.raised", "call.ended"]
        # A cursor of the other kind is not taken for a place, here and there.
        for scope, foreign in (
            ("all", seen[0]["id"]),
            ("own", seen[0]["cursor"]),
            ("all", first.replace("-", "-f", 1)),
        ):
            (gap,) = await read(f"{gateway.url}?scope={scope}&last_event_id={foreign}", 1)
            assert (gap["type"], gap["data"]["reason"]) == ("gap", "cursor_unknown")
            assert gap["data"]["after"] == foreign


async def test_a_tenant_sees_its_own_calls_of_all_gateways_only(tmp_path: Path) -> None:
    async with (
        nats_server(tmp_path / "nats") as server,
        member(tmp_path / "a", server.url) as a,
        member(tmp_path / "b", server.url) as b,
        serving(b, access=Access("blue", frozenset({"subscribe"}), "blue")) as gateway,
    ):
        await until(lambda: b.shared._link is not None)
        async with connect(f"{gateway.url}?scope=all") as socket, asyncio.timeout(20):
            for tenant in ("red", "blue", None, "blue"):
                a.bus.publish(alert(call_id=f"of-{tenant}", tenant=tenant))
            seen = [json.loads(await socket.recv())["data"] for _ in range(2)]
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await socket.recv()
        assert [(data["call_id"], data["tenant"]) for data in seen] == [("of-blue", "blue")] * 2


async def test_without_nats_events_wait_in_the_journal_and_drain_later(tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "nats")
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.kill)
        a = await stack.enter_async_context(member(tmp_path / "a", server.url))
        gateway = await stack.enter_async_context(serving(a))
        a.talk("before")
        await a.bus.flush()
        await until(lambda: "7 events wait in the journal" in str(a.shared.warnings))
        assert a.shared.unready == []
        async with connect(f"{gateway.url}?scope=all") as socket:
            with pytest.raises(ConnectionClosed) as refused:
                await socket.recv()
            assert refused.value.rcvd is not None
            assert refused.value.rcvd.code == 1013
        assert len(await read(f"{gateway.url}?last_event_id={a.bus.journal.cursor(0)}", 4)) == 4, "its own are told"
        await server.start()
        await a.forwarded()
        async with asyncio.timeout(20), connect(f"{gateway.url}{ALL}") as socket:
            await server.kill()
            a.talk("during")
            with pytest.raises(ConnectionClosed) as ended:
                await socket.recv()
            assert ended.value.rcvd is not None
            assert ended.value.rcvd.code == 1013
            assert "shared stream cannot be read" in ended.value.rcvd.reason
        await server.start()
        a.talk("after")
        await a.forwarded()
        first = f"all-{a.shared._link.stream_id}-000000000000"  # type: ignore[union-attr]
        seen = await read(f"{gateway.url}{ALL}&last_event_id={first}", 21)
        # Calls are forwarded beside each other, the events of each in their order.
        assert sorted(without_cursor(seen), key=itemgetter("sequence")) == await a.told()
        for call_id in ("before", "during", "after"):
            of_one = [event["sequence"] for event in seen if event["data"]["call_id"] == call_id]
            assert of_one == sorted(of_one)


async def test_a_position_that_was_never_noted_doubles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after kill -9, and after the server has forgotten the ids: what the stream has is looked up."""
    monkeypatch.setattr("gateway.shared.position.move", lambda _writer, stream, seq: None)
    async with nats_server(tmp_path / "nats") as server:
        for number in range(3):
            async with member(tmp_path / "a", server.url, keep_s=60.0) as a:
                a.talk(f"call-{number}", scores=60)
                await a.forwarded()
            await purge_ids(server)
        assert await stored(server) == 3 * 64


async def purge_ids(server: NatsServer) -> None:
    """Let the server forget the ids of messages: it does when it is started again with a window that is over."""
    client = await nats.connect(server.url)
    try:
        js = client.jetstream()
        config = (await js.stream_info("callscreen")).config
        await js.update_stream(config.evolve(duplicate_window=0.1))
        await asyncio.sleep(0.3)
    finally:
        await client.close()


async def test_a_cursor_whose_events_are_gone_gets_a_gap(tmp_path: Path) -> None:
    async with (
        nats_server(tmp_path / "nats") as server,
        member(tmp_path / "a", server.url) as a,
        serving(a) as gateway,
    ):
        for call_id in ("one", "two"):
            a.talk(call_id)
            await a.forwarded()
        link = a.shared._link
        assert link is not None
        await link._js.purge_stream("callscreen", seq=8)  # all before 8
        first = f"all-{link.stream_id}-"
        gap, following = await read(f"{gateway.url}{ALL}&last_event_id={first}000000000003", 2)
        assert (gap["type"], gap["data"]["reason"]) == ("gap", "cursor_too_old")
        assert (gap["data"]["after"], gap["data"]["resumed_at"]) == (f"{first}000000000003", f"{first}000000000008")
        assert (following["type"], following["data"]["call_id"], following["cursor"]) == (
            "call.started", "two", f"{first}000000000008",
        )  # fmt: skip
        await link._js.delete_msg("callscreen", 10)
        seen = await read(f"{gateway.url}{ALL}&last_event_id={gap['id']}", 7)
        assert [event["type"] for event in seen].count("gap") == 1, "a hole in the middle is told, too"


async def test_a_copy_of_a_journal_forwards_nothing_and_says_so(tmp_path: Path) -> None:
    async with nats_server(tmp_path / "nats") as server:
        async with member(tmp_path / "a", server.url) as a:
            a.talk("one")
            await a.forwarded()
        shutil.copy(tmp_path / "a", tmp_path / "copy")
        async with member(tmp_path / "a", server.url) as a:
            await a.forwarded()
            async with member(tmp_path / "copy", server.url) as copy:
                await until(lambda: bool(copy.shared.unready))
                assert "has the journal id" in str(copy.shared._taken)
                copy.talk("of the copy")
                a.talk("two")
                await a.forwarded()
                assert a.shared.unready == []
                assert await stored(server) == 14
        # The other one has gone, but the stream has events that the copy never told.
        async with member(tmp_path / "copy", server.url) as copy:
            await until(lambda: bool(copy.shared.unready))
            assert "it is an old copy" in str(copy.shared._taken)
            assert copy.shared.unready == ["the journal is a copy: its events are not forwarded to nats"]
        assert await stored(server) == 14


async def test_what_the_journal_has_deleted_meanwhile_is_counted(tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "nats")
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.kill)
        a = await stack.enter_async_context(member(tmp_path / "a", server.url, max_events=100))
        before = node_metric("callscreen_nats_lost_total")
        for number in range(40):
            a.talk(f"call-{number}")
        await a.bus.flush()
        kept = len(await a.told())
        assert kept < 280
        await server.start()
        await a.forwarded()
        assert await stored(server) == kept
        assert node_metric("callscreen_nats_lost_total") - before == 280 - kept


def node_metric(name: str) -> float:
    return REGISTRY.get_sample_value(name) or 0.0


async def test_the_client_resumes_over_another_gateway(tmp_path: Path) -> None:
    async with (
        nats_server(tmp_path / "nats") as server,
        member(tmp_path / "a", server.url) as a,
        member(tmp_path / "b", server.url, scores=False) as b,
        serving(a) as at_a,
        serving(b) as at_b,
    ):
        await until(lambda: a.shared._link is not None and b.shared._link is not None)
        b.talk("zero")
        await b.forwarded()
        first = f"all-{b.shared._link.stream_id}-000000000000"  # type: ignore[union-attr]
        seen = []
        async with aclosing(follow(at_a.url, everywhere=True, types=TYPES, last_event_id=first)) as events:
            async for event in events:
                seen.append(event)
                if len(seen) == 2:
                    break
        a.talk("one")
        async with aclosing(follow(at_b.url, everywhere=True, types=TYPES, last_event_id=seen[-1].cursor)) as events:
            async for event in events:
                seen.append(event)
                if event.type == "call.ended" and event.id.startswith(a.bus.journal.id):
                    break
        own = [event for event in seen if event.id.startswith(b.bus.journal.id)]
        assert [event.type for event in own] == ["call.started", "leg.started", "alert.raised", "call.ended"]
        assert [event.id for event in seen if event not in own] == [event["id"] for event in await a.told()]


async def test_watch_and_the_javascript_client_see_all_gateways(tmp_path: Path) -> None:
    async with (
        nats_server(tmp_path / "nats") as server,
        member(tmp_path / "a", server.url) as a,
        member(tmp_path / "b", server.url) as b,
        serving(a) as at_a,
        serving(b) as at_b,
    ):
        await until(lambda: a.shared._link is not None and b.shared._link is not None)
        first = f"all-{a.shared._link.stream_id}-000000000000"  # type: ignore[union-attr]
        a.talk("one", scores=0)
        await a.forwarded()
        b.talk("two", scores=0)
        await b.forwarded()
        told = [event["id"] for event in await a.told() + await b.told()]
        async with watching(at_b.url, "--all-gateways", "--since", first, "--json") as process:
            watched = [json.loads(line) for line in await lines(process, 8)]
        assert [event["id"] for event in watched] == told
        if flags() is None:  # no Node.js with a WebSocket
            return
        heard = await take(at_a.url, 3, everywhere=True, lastEventId=first)
        heard += await take(at_b.url, 5, everywhere=True, lastEventId=heard[-1]["cursor"])
        assert [event["id"] for event in heard] == told
