"""The ARI tap against a small Asterisk, no real one, over HTTP and its event websocket: golden requests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from websockets.exceptions import InvalidStatus

from gateway.client.ari import Tap, TappedLeg, Target, ToAudioSocket, ToWebsocket
from gateway.client.audiosocket import leg_uuid
from tests.gateway.asterisk import ALICE, BOB, CAROL, FakeAsterisk, asterisk_running

SECRET = "a secret of the house"


@pytest.fixture
async def asterisk() -> AsyncIterator[FakeAsterisk]:
    async with asterisk_running() as fake:
        yield fake


@contextlib.asynccontextmanager
async def tapping(asterisk: FakeAsterisk, target: Target, faults: list[str]) -> AsyncIterator[list[TappedLeg]]:
    legs: list[TappedLeg] = []
    tap = Tap(asterisk.url, "callscreen", "s3cret", target, on_tapped=legs.append, on_fault=faults.append)
    task = asyncio.create_task(tap.run())
    try:
        await asterisk.until("GET bridges", times=2)  # once for leftovers, once for calls
        yield legs
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def taps(channel: str, media: str) -> list[str]:
    """What must be asked for, in this order, to hear one channel."""
    return [
        f"GET channels/{channel}",
        f"GET channels/{channel}/variable?variable=CHANNEL(linkedid)",
        f"POST bridges/callscreen.bridge.{channel}?type=mixing",
        f"POST channels/{channel}/snoop/callscreen.snoop.{channel}?app=callscreen&spy=in",
        f"POST channels/externalMedia?app=callscreen&{media}&channelId=callscreen.media.{channel}",
    ]


def joins(channel: str) -> list[str]:
    bridge = f"POST bridges/callscreen.bridge.{channel}/addChannel?channel=callscreen"
    return [f"{bridge}.snoop.{channel}", f"{bridge}.media.{channel}"]


def removals(channel: str) -> list[str]:
    return [
        f"DELETE channels/callscreen.snoop.{channel}",
        f"DELETE channels/callscreen.media.{channel}",
        f"DELETE bridges/callscreen.bridge.{channel}",
    ]


def audiosocket(leg: int) -> str:
    # sha256("1763800000.10") begins 2ac52217d6f2
    uuid = leg_uuid(SECRET, bytes.fromhex("2ac52217d6f2"), leg)
    return f"external_host=gw:9092&encapsulation=audiosocket&transport=tcp&format=slin&data={uuid}"


async def test_a_calls_two_channels_are_tapped_apart(asterisk: FakeAsterisk) -> None:
    faults: list[str] = []
    target = ToAudioSocket("gw:9092", SECRET)
    async with tapping(asterisk, target, faults) as legs:
        started = len(asterisk.asked)
        await asterisk.enter("b-1", ALICE)
        await asterisk.enter("b-1", BOB)
        await asterisk.until(joins(BOB)[1])
        assert asterisk.asked[started:] == [
            *taps(ALICE, audiosocket(0)),
            *taps(BOB, audiosocket(1)),
            *joins(ALICE),
            *joins(BOB),
        ]
        assert [(leg.name, leg.leg) for leg in legs] == [("PJSIP/alice-00000001", 0), ("PJSIP/bob-00000002", 1)]
        assert target.call_id(ALICE) == "2ac52217d6f2"
        for channel in (ALICE, BOB):
            ours = [f"callscreen.snoop.{channel}", f"callscreen.media.{channel}"]
            assert asterisk.bridges[f"callscreen.bridge.{channel}"] == ours
        hung_up = len(asterisk.asked)
        await asterisk.tell({"type": "ChannelDestroyed", "cause": 16, "channel": {"id": BOB}})
        await asterisk.until(removals(BOB)[2])
        assert asterisk.asked[hung_up:] == removals(BOB)
    assert list(asterisk.channels) == [ALICE, BOB, CAROL]
    assert list(asterisk.bridges) == ["b-1"]
    assert faults == []


async def test_over_websocket_the_url_has_call_and_leg(asterisk: FakeAsterisk) -> None:
    asterisk.bridges["b-1"] = [ALICE, BOB]
    async with tapping(asterisk, ToWebsocket("callscreen"), []) as _:
        await asterisk.until(joins(BOB)[1])
    media = "external_host=callscreen&encapsulation=none&transport=websocket&format=slin16&transport_data=v(call_id="
    for channel, leg in ((ALICE, "caller"), (BOB, "callee")):
        assert taps(channel, f"{media}{ALICE},leg={leg})")[4] in asterisk.asked
    assert ToWebsocket("callscreen").call_id(ALICE) == ALICE


async def test_each_participant_of_a_call_gets_a_leg(asterisk: FakeAsterisk) -> None:
    asterisk.bridges["b-1"] = [ALICE, BOB]
    async with tapping(asterisk, ToAudioSocket("gw:9092", SECRET), []) as legs:
        await asterisk.until(joins(BOB)[1])
        await asterisk.enter("b-1", CAROL)
        await asterisk.until(joins(CAROL)[1])
        assert [leg.leg for leg in legs] == [0, 1, 2]
        await asterisk.enter("b-1", ALICE)  # back from hold: she is tapped already
        await asterisk.tell({"type": "ChannelDestroyed", "channel": {"id": CAROL}})
        await asterisk.until(removals(CAROL)[2])
        assert len(legs) == 3


async def test_leftovers_are_removed_at_the_start(asterisk: FakeAsterisk) -> None:
    asterisk.channels["callscreen.snoop.1"] = "Snoop/9"
    asterisk.bridges["callscreen.bridge.1"] = []
    async with tapping(asterisk, ToAudioSocket("gw:9092", SECRET), []) as _:
        await asterisk.until("DELETE bridges/callscreen.bridge.1")
    assert "callscreen.snoop.1" not in asterisk.channels


async def test_a_channel_that_vanished_leaves_nothing_behind(asterisk: FakeAsterisk) -> None:
    faults: list[str] = []
    asterisk.refuse.add(f"channels/{BOB}/snoop")
    asterisk.bridges["b-1"] = [ALICE, BOB]
    async with tapping(asterisk, ToAudioSocket("gw:9092", SECRET), faults) as legs:
        await asterisk.until(joins(ALICE)[1])
        await asterisk.until(removals(BOB)[2])
        assert [leg.channel for leg in legs] == [ALICE]
    assert faults == [f'POST channels/{BOB}/snoop/callscreen.snoop.{BOB}: 404 {{"message":"Channel not found"}}']
    assert list(asterisk.bridges) == ["b-1"]


async def test_a_lost_connection_is_made_again(asterisk: FakeAsterisk) -> None:
    faults: list[str] = []
    asterisk.bridges["b-1"] = [ALICE, BOB]
    async with tapping(asterisk, ToAudioSocket("gw:9092", SECRET), faults) as legs:
        await asterisk.until(joins(BOB)[1])
        asterisk.asked.clear()
        await asterisk.sockets[0].close(1012)
        await asterisk.until(joins(BOB)[1])
        assert len(legs) == 4
    assert list(asterisk.bridges) == ["b-1"]


async def test_an_unreachable_asterisk_is_reported_and_retried() -> None:
    faults: list[str] = []
    told = asyncio.Event()

    def complain(text: str) -> None:
        faults.append(text)
        told.set()

    tap = Tap("http://127.0.0.1:9", "callscreen", "s3cret", ToWebsocket("callscreen"), on_fault=complain)
    task = asyncio.create_task(tap.run())
    async with asyncio.timeout(5):
        await told.wait()
    assert not task.done()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert "Connect call failed" in faults[0]


async def test_a_wrong_password_is_reported(asterisk: FakeAsterisk) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        await Tap(asterisk.url, "callscreen", "wrong", ToWebsocket("callscreen")).run()
