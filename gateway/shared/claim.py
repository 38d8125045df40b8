"""Detects two gateways with the same journal id; the later one stops forwarding.  [IO]

The id is created with the journal's file, so two gateways share it only if the file was copied, for example with a
machine image. Their events would have equal ids, and the stream would drop one gateway's events as duplicates.

Each gateway answers on the subject of its journal id while it is connected, so a claim needs no expiry.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from nats.aio.msg import Msg

from gateway import clock
from gateway.errors import UNREADABLE_JSON
from gateway.shared import names
from gateway.shared.link import Link

ANSWERS_S = 0.5
"""Time for others to answer."""


class JournalTaken(Exception):
    """Another gateway has this journal's id, or the stream has other events under it."""


class Holder(msgspec.Struct, frozen=True, order=True):
    """A process with a journal; the smallest, which started first, keeps the id."""

    began_s: float
    instance: str
    host: str


class Claim:
    """The claim of this process to its journal's id."""

    def __init__(self, journal_id: str) -> None:
        self._journal_id = journal_id
        self._me = Holder(clock.utc_now().timestamp(), secrets.token_hex(8), socket.gethostname())
        self._other: Holder | None = None

    def check(self) -> None:
        """Raise JournalTaken if another process that started earlier has the same id."""
        if self._other is not None:
            raise JournalTaken(
                f"the gateway on {self._other.host:.64} has the journal id {self._journal_id}, too: this journal is a "
                "copy; nothing is forwarded from here. Set `journal` to a new file"
            )

    @asynccontextmanager
    async def announced(self, link: Link) -> AsyncIterator[None]:
        """While the body runs, answer other gateways; ask them first. Raises JournalTaken."""
        subject = names.presence(link.stream, self._journal_id)
        me = msgspec.json.encode(self._me)
        self._other = None

        async def on_question(message: Msg) -> None:
            self._compare(message.data)
            if message.reply:
                await link.client.publish(message.reply, me)

        subscription = await link.client.subscribe(subject, cb=on_question)
        inbox = link.client.new_inbox()

        async def on_answer(message: Msg) -> None:
            self._compare(message.data)

        answers = await link.client.subscribe(inbox, cb=on_answer)
        try:
            await link.client.publish(subject, me, inbox)
            await link.client.flush()
            await asyncio.sleep(ANSWERS_S)
            self.check()
            yield
        finally:
            if link.client.is_connected:
                await answers.unsubscribe()
                await subscription.unsubscribe()

    def _compare(self, data: bytes) -> None:
        try:
            other = msgspec.json.decode(data, type=Holder)
        except UNREADABLE_JSON:
            return
        if other < self._me:
            self._other = other
