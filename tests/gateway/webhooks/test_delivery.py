"""Deliveries to a receiver on a real socket: signed, repeated, given up, replayed, remembered over a restart."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks

from gateway.alerts.bus import Bus
from gateway.alerts.event import AlertCleared, AlertRaised, CallStarted
from gateway.alerts.journal import Journal
from gateway.webhooks.delivery import MAX_WAIT_S, Delivery, Webhooks, wait_s
from gateway.webhooks.settings import Webhook
from tests.gateway.alerts.events import alert, call_started, facts, running, score, until
from tests.gateway.webhooks.receiver import SECRET, Receiver, receiving, webhook

REFUSED = b"HTTP/1.1 500 Oh\r\nContent-Length: 0"
provisional = AlertRaised(**facts(), alert_id="a0", stage="provisional", lag_ms=1.0)
cleared = AlertCleared(**facts(), alert_id="a1")


@asynccontextmanager
async def delivering(path: Path, *settings: dict[str, Any]) -> AsyncIterator[tuple[Bus, list[Delivery]]]:
    """Deliver what is published on a journal, until the context is left; then it may be opened again."""
    journal = await asyncio.to_thread(Journal, path, 1000)
    async with running(Bus(journal)) as bus:
        webhooks = Webhooks([Webhook.model_validate(one) for one in settings], bus)
        webhooks.start()
        await until(lambda: bool(bus._subscriptions))
        try:
            yield bus, webhooks.all()
        finally:
            await webhooks.close()
    journal.close()


def sequences(receiver: Receiver) -> list[str]:
    return [event["sequence"] for event in receiver.events()]


async def dead_letters(delivery: Delivery, count: int) -> list[str]:
    """Wait for so many dead letters; return why they died."""
    async with asyncio.timeout(20):
        while len(letters := await delivery.dead()) < count:  # noqa: ASYNC110  it is in the journal
            await asyncio.sleep(0.01)
    return [letter.error for letter in letters]


async def test_events_are_delivered_signed_and_once(tmp_path: Path) -> None:
    async with receiving() as receiver, delivering(tmp_path / "j", webhook(receiver)) as (bus, _):
        published = [bus.publish(data) for data in (score(), call_started(), alert(), cleared)]
        await receiver.until(2)
        for (headers, body), event in zip(receiver.requests, published[2:], strict=True):
            told: Any = standardwebhooks.Webhook(SECRET).verify(body, headers)
            assert event is not None
            assert (told["id"], headers["webhook-id"]) == (event.id, event.id)
            with pytest.raises(standardwebhooks.WebhookVerificationError):
                standardwebhooks.Webhook(SECRET).verify(body + b" ", headers)
    async with receiving(receiver.port) as again, delivering(tmp_path / "j", webhook(again)) as (bus, _):
        bus.publish(alert())
        await until(lambda: "000000000005" in sequences(again))
    assert set(sequences(again)) <= {"000000000004", "000000000005"}  # the answer to the last one may not be noted


async def test_failed_deliveries_are_retried_without_delaying_others(tmp_path: Path) -> None:
    async with receiving() as receiver, delivering(tmp_path / "j", webhook(receiver, retry_first_s=0.2)) as (bus, _):
        receiver.answers = [REFUSED]
        bus.publish(alert(reason="first"))
        bus.publish(alert(reason="second"))
        await receiver.until(3)
    assert [event["data"]["reason"] for event in receiver.events()] == ["first", "second", "first"]
    assert receiver.requests[0][0]["webhook-id"] == receiver.requests[2][0]["webhook-id"]


async def test_types_stages_and_tenants_are_looked_at(tmp_path: Path) -> None:
    async with receiving() as one, receiving() as other:
        settings = (
            webhook(one, min_stage="confirmed"),
            webhook(other, name="red", events=["call.started", "alert.raised"], tenant="red"),
        )
        async with delivering(tmp_path / "j", *settings) as (bus, _):
            started = CallStarted(**facts(leg=None, tenant="red"), source="twilio", separation="separate")
            for data in (provisional, call_started(), started, alert(), cleared):
                bus.publish(data)
            await asyncio.gather(one.until(2), other.until(1))
    assert [event["type"] for event in one.events()] == ["alert.raised", "alert.cleared"]
    assert [event["data"].get("stage") for event in one.events()] == ["confirmed", None]
    assert [event["data"]["tenant"] for event in other.events()] == ["red"]


async def test_an_endpoint_that_is_down_gets_everything_after_a_restart_of_the_gateway(tmp_path: Path) -> None:
    async with receiving() as receiver:
        settings = webhook(receiver, retry_first_s=0.05)
    async with delivering(tmp_path / "j", settings) as (bus, (delivery,)):
        for number in range(3):
            bus.publish(alert(reason=str(number)))
        await until(lambda: len(delivery._waiting) == 3)
        errors = [letter.error for letter in delivery._waiting.values()]
        assert all(error.startswith("connection failed: ConnectError") for error in errors), errors
    async with receiving(receiver.port) as back, delivering(tmp_path / "j", settings) as (bus, (delivery,)):
        bus.publish(alert(reason="3"))
        await back.until(4)
        await until(lambda: not delivery._waiting)
    assert {event["data"]["reason"] for event in back.events()} == {"0", "1", "2", "3"}


MOVED = b"HTTP/1.1 307 Away\r\nLocation: http://127.0.0.1:1/hook\r\nContent-Length: 0"
ENDLESS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("answer", "more", "error"),
    [
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0", {}, "status 503"),
        (MOVED, {}, "status 307: redirects are not followed"),
        (b"", {"timeout_s": 0.1}, "no answer within 0.1 s"),
        (ENDLESS, {"timeout_s": 0.1}, "no answer within 0.1 s"),
        (b"nonsense", {}, "connection failed: RemoteProtocolError"),
    ],
)
async def test_a_failing_delivery_is_logged_and_becomes_a_dead_letter(
    tmp_path: Path, answer: bytes, more: dict[str, Any], error: str
) -> None:
    async with receiving() as receiver:
        receiver.answers = [answer] * 50
        settings = webhook(receiver, retry_for_s=0.1, retry_first_s=0.02) | more
        async with delivering(tmp_path / "j", settings) as (bus, (delivery,)):
            bus.publish(alert())
            (told,) = await dead_letters(delivery, 1)
    assert told.startswith(error)
    assert receiver.requests


async def test_an_event_that_is_refused_dies_alone_and_can_be_replayed(tmp_path: Path) -> None:
    async with receiving() as receiver:
        settings = webhook(receiver, retry_for_s=0.1, retry_first_s=0.02)
        receiver.refuses = {"alert.cleared"}
        async with delivering(tmp_path / "j", settings) as (bus, (delivery,)):
            bus.publish(cleared)
            bus.publish(alert())
            assert await dead_letters(delivery, 1) == ["status 400"]
        receiver.refuses = set()
        async with delivering(tmp_path / "j", settings) as (bus, (delivery,)):
            assert len(await delivery.dead()) == 1
            before = len(receiver.requests)
            assert await delivery.replay() == 1
            await receiver.until(before + 1)
            await until(lambda: not delivery._waiting)
            assert (await delivery.dead(), await delivery.replay()) == ([], 0)
    assert receiver.events()[-1]["type"] == "alert.cleared"


async def test_a_test_event_is_sent_at_once_and_not_repeated(tmp_path: Path) -> None:
    async with receiving() as receiver, delivering(tmp_path / "j", webhook(receiver)) as (_, (delivery,)):
        assert await delivery.test() is None
        receiver.answers = [REFUSED]
        assert await delivery.test() == "status 500"
    assert [event["type"] for event in receiver.events()] == ["webhook.test"] * 2


async def test_a_new_webhook_gets_new_events_only(tmp_path: Path) -> None:
    async with receiving() as receiver:
        async with delivering(tmp_path / "j", webhook(receiver, name="other")) as (bus, _):
            bus.publish(alert(reason="before"))
            await receiver.until(1)
        async with delivering(tmp_path / "j", webhook(receiver)) as (bus, _):
            bus.publish(alert(reason="after"))
            await receiver.until(2)
    assert [event["data"]["reason"] for event in receiver.events()] == ["before", "after"]


async def test_private_addresses_are_refused_unless_allowed(tmp_path: Path) -> None:
    async with receiving() as receiver:
        for host in ("127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::ffff:127.0.0.1]", "2130706433"):
            settings = {"name": "desk", "url": f"https://{host}:{receiver.port}/hook?key=1", "secret": SECRET}
            async with delivering(tmp_path / "j", settings) as (_, (delivery,)):
                error = await delivery.test()
            assert error is not None
            assert error.startswith(("address refused: ", "name cannot be resolved")), (host, error)
    assert receiver.requests == []


def test_waits_grow_are_bounded_and_differ() -> None:
    waits = [[wait_s(attempts, 5.0) for _ in range(20)] for attempts in range(1, 40)]
    assert all(5.0 / 2 <= wait <= 5.0 for wait in waits[0])
    assert all(20.0 / 2 <= wait <= 20.0 for wait in waits[2])
    assert all(MAX_WAIT_S / 2 <= wait <= MAX_WAIT_S for wait in itertools.chain(*waits[10:]))
    assert len(set(waits[0])) > 10
    assert wait_s(10_000, 5.0) <= MAX_WAIT_S


async def test_while_too_many_wait_nothing_new_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.webhooks.delivery.MAX_PENDING", 2)
    async with receiving() as receiver:
        receiver.answers = [REFUSED] * 2
        async with delivering(tmp_path / "j", webhook(receiver, retry_first_s=0.3)) as (bus, _):
            for number in range(4):
                bus.publish(alert(reason=str(number)))
            await receiver.until(6)
    assert [event["data"]["reason"] for event in receiver.events()][:2] == ["0", "1"]
    assert {event["data"]["reason"] for event in receiver.events()[2:]} == {"0", "1", "2", "3"}
