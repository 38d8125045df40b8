"""Delivers events to the webhooks: pace, retries and dead letters per endpoint.  [IO]

A failed event is retried on its own schedule while others are delivered, so an event that the receiver rejects delays
none. While `MAX_PENDING` events of an endpoint are pending, no new ones are read: they stay in the journal.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

import msgspec
from prometheus_client import Counter, Gauge

from gateway import clock, logs
from gateway.alerts.bus import Bus
from gateway.alerts.subscription import Filter, Subscription
from gateway.errors import NotFound, Overloaded, SlowConsumer
from gateway.webhooks import store
from gateway.webhooks.sending import Sender
from gateway.webhooks.settings import Webhook
from gateway.webhooks.store import Letter

DELIVERIES = Counter("callscreen_webhook_deliveries_total", "Attempts to deliver, by outcome.", ["webhook", "outcome"])
"""Outcomes: ``delivered``, ``failed`` (to be retried), ``dead``."""
LOST = Counter(
    "callscreen_webhook_gaps_total", "Times that events were deleted before they were delivered.", ["webhook"]
)
WAITING = Gauge("callscreen_webhook_waiting", "Events that wait to be sent again.", ["webhook"])
MAX_PENDING = 1000
MAX_WAIT_S = 3600.0
IDLE_S = 30.0
"""Without an event for this time, the position moves past the events that were not accepted."""
RETRY_S = 1.0
"""Between attempts to write the journal."""
_log = logs.get(__name__)
_random = secrets.SystemRandom()


def wait_s(attempts: int, first_s: float) -> float:
    """Return the wait after `attempts` failures: exponential backoff with jitter of up to one half."""
    longest_s = min(MAX_WAIT_S, first_s * 2.0 ** min(attempts - 1, 60))
    return longest_s * _random.uniform(0.5, 1.0)


class Delivery:
    """Delivery to one endpoint; `run` it until it is cancelled or the bus closes."""

    def __init__(self, webhook: Webhook, bus: Bus) -> None:
        """Raises ConfigError if the secret cannot be read."""
        self.webhook = webhook
        self._bus = bus
        self._sender = Sender(webhook)
        self._position = 0
        self._waiting: dict[int, Letter] = {}
        self._pause: asyncio.Timeout | None = None
        self._logger = _log.bind(webhook=webhook.name)

    async def run(self) -> None:
        """Deliver from the endpoint's position; a new endpoint starts with new events."""
        wanted = Filter(types=frozenset(self.webhook.events), tenant=self.webhook.tenant)
        try:
            await self._restore()
            while not self._bus.stopped:
                with suppress(SlowConsumer):
                    with self._bus.subscribe(wanted, self._bus.journal.cursor(self._position)) as subscription:
                        await self._follow(subscription)
                    return
        finally:
            await self._sender.close()

    async def test(self) -> str | None:
        """Send an event of type ``webhook.test`` once; return why it failed, or None if it succeeded."""
        now = clock.utc_now()
        event_id = f"test-{uuid.uuid4().hex}"
        event = {
            "specversion": "1.0",
            "id": event_id,
            "source": self._bus.journal.source,
            "type": "webhook.test",
            "time": now,
            "datacontenttype": "application/json",
            "data": {"webhook": self.webhook.name},
        }
        return await self._sender.send(event_id, msgspec.json.encode(event))

    async def dead(self) -> list[Letter]:
        """Return the dead letters, oldest first."""
        return await self._bus.query(partial(store.dead, name=self.webhook.name))

    async def replay(self) -> int:
        """Queue dead letters for delivery, as many as there is room for; return their number. Raises Overloaded."""
        room = MAX_PENDING - len(self._waiting)
        now = clock.utc_now().timestamp()
        try:
            revived = await self._bus.change(partial(store.revive, name=self.webhook.name, now=now, most=room))
        except (sqlite3.Error, OSError) as error:
            raise Overloaded(f"the journal cannot be written: {error}") from None
        self._waiting |= {letter.seq: letter for letter in revived}
        if self._pause is not None and not self._pause.expired():
            self._pause.reschedule(0.0)  # ends the pause now
        return len(revived)

    async def _restore(self) -> None:
        position = await self._bus.query(partial(store.position, name=self.webhook.name))
        letters = await self._bus.query(partial(store.waiting, name=self.webhook.name))
        self._waiting = {letter.seq: letter for letter in letters}
        self._position = self._bus.committed if position is None else position
        if position is None:
            await self._change(partial(store.move, name=self.webhook.name, position=self._position))

    async def _follow(self, subscription: Subscription) -> None:
        """Deliver until the bus closes. Raises SlowConsumer; then subscribe again from the position."""
        while True:
            WAITING.labels(self.webhook.name).set(len(self._waiting))
            now = clock.utc_now().timestamp()
            letter = min(self._waiting.values(), key=_due_at, default=None)
            if letter is not None and _due_at(letter) <= now:
                await self._attempt(letter)
                continue
            pause_s = min(IDLE_S, _due_at(letter) - now) if letter else IDLE_S
            text = None
            try:
                async with asyncio.timeout(pause_s) as self._pause:
                    if len(self._waiting) >= MAX_PENDING:
                        await asyncio.Event().wait()
                    text = await anext(subscription)
            except TimeoutError:
                if not self._waiting:
                    await self._move_on(subscription)
            except StopAsyncIteration:
                return
            finally:
                self._pause = None
            if text is not None:
                await self._take(text)

    async def _take(self, text: str) -> None:
        event = msgspec.json.decode(text)
        if event["type"] == "gap":
            LOST.labels(self.webhook.name).inc()
            self._logger.error("events were deleted before they were delivered", **event["data"])
            return
        seq = self._bus.journal.position(event["id"])
        assert seq is not None
        if self.webhook.min_stage == "confirmed" and event["data"].get("stage") == "provisional":
            self._position = max(self._position, seq)
            return
        now = clock.utc_now().timestamp()
        await self._attempt(Letter(self.webhook.name, seq, event["id"], event["type"], text, 0, now, now, ""))

    async def _attempt(self, letter: Letter) -> None:
        error = await self._sender.send(letter.event_id, letter.text.encode())
        self._position = max(self._position, letter.seq)
        if error is None:
            self._waiting.pop(letter.seq, None)
            DELIVERIES.labels(self.webhook.name, "delivered").inc()
            await self._change(partial(store.drop, letter=letter, position=self._position))
            return
        now = clock.utc_now().timestamp()
        attempts = letter.attempts + 1
        is_dead = now - letter.first_at >= self.webhook.retry_for_s
        due_at = None if is_dead else now + wait_s(attempts, self.webhook.retry_first_s)
        letter = letter._replace(attempts=attempts, due_at=due_at, error=error)
        if is_dead:
            self._waiting.pop(letter.seq, None)
        else:
            self._waiting[letter.seq] = letter
        DELIVERIES.labels(self.webhook.name, "dead" if is_dead else "failed").inc()
        facts = {"event_id": letter.event_id, "attempts": attempts, "error": error}
        if is_dead:
            self._logger.error("webhook: event given up", **facts)
        elif attempts == 1:
            self._logger.warning("webhook: delivery failed", **facts)
        await self._change(partial(store.put, letter=letter, position=self._position))

    async def _move_on(self, subscription: Subscription) -> None:
        """Move the position past the newest event: all accepted ones up to it are delivered."""
        heartbeat = msgspec.json.decode(subscription.heartbeat())
        seen = self._bus.journal.position(heartbeat["data"]["last_event_id"])
        if seen is not None and seen > self._position:
            self._position = seen
            await self._change(partial(store.move, name=self.webhook.name, position=seen))

    async def _change(self, change: Callable[[sqlite3.Connection], None]) -> None:
        """Write to the journal. While that fails, nothing more is delivered, because it could not be recorded."""
        while True:
            try:
                return await self._bus.change(change)
            except (sqlite3.Error, OSError):
                await asyncio.sleep(RETRY_S)


class Webhooks:
    """All webhooks. Call `start` after the bus was started, `close` before it closes."""

    def __init__(self, webhooks: Iterable[Webhook], bus: Bus) -> None:
        """Raises ConfigError if a secret cannot be read."""
        self._deliveries = {webhook.name: Delivery(webhook, bus) for webhook in webhooks}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start to deliver."""
        for name, delivery in self._deliveries.items():
            self._tasks.append(asyncio.create_task(_supervised(delivery), name=f"webhook {name}"))

    async def close(self) -> None:
        """Stop. Pending events are delivered after the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def all(self) -> list[Delivery]:
        """Return all endpoints."""
        return list(self._deliveries.values())

    def named(self, name: str) -> Delivery:
        """Return one endpoint. Raises NotFound."""
        try:
            return self._deliveries[name]
        except KeyError:
            known = ", ".join(self._deliveries) or "none"
            raise NotFound(f"webhook: there is no {name!r:.40}; `webhooks` in the settings has {known}") from None


async def _supervised(delivery: Delivery) -> None:
    """Deliver until the bus closes, and start again after an error."""
    while True:
        try:
            return await delivery.run()
        except Overloaded as error:
            _log.warning("webhook: waits for the journal", webhook=delivery.webhook.name, error=str(error))
        except Exception:  # task root
            _log.exception("webhook failed", webhook=delivery.webhook.name)
        await asyncio.sleep(RETRY_S)


def _due_at(letter: Letter) -> float:
    return letter.due_at if letter.due_at is not None else float("inf")
