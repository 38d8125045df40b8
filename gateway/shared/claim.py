"""Two gateways with one journal id: found, and the later one stops forwarding.  [IO]

The id is made with the journal's file, so two running gateways have the same only if the file was copied, as with the
image of a machine. Their events would have the same ids, and the stream would take one gateway's for the other's.

Each gateway answers on the subject of its journal id, for as long as it is connected: there is nothing to expire.
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
from gateway.shared import names
from gateway.shared.link import Link

ANSWERS_S = 0.5
"""How long others have to answer."""


class JournalTaken(Exception):
    """Another gateway has this journal's id, or the stream has other events under it."""


class Holder(msgspec.Struct, frozen=True, order=True):
    """A process that has a journal; the smallest, which is the one that began first, keeps it."""

    began_s: float
    instance: str
    host: str


class Claim:
    """What this process says of itself."""

    def __init__(self, journal_id: str) -> None:
        self._journal_id = journal_id
        self._me = Holder(clock.utc_now().timestamp(), secrets.token_hex(8), socket.gethostname())
        self._other: Holder | None = None

    def check(self) -> None:
        """Raise JournalTaken where another process that began earlier has been heard of."""
        if self._other is not None:
            raise JournalTaken(
                f"the gateway on {self._other.host:.64} has the journal id {self._journal_id}, too: this journal is a "
                "copy; nothing is forwarded from here. Set `journal` to a new file"
            )

    @asynccontextmanager
    async def announced(self, link: Link) -> AsyncIterator[None]:
        """Answer whoever asks, and ask. Raises JournalTaken."""
        subject = names.presence(link.stream, self._journal_id)
        me = msgspec.json.encode(self._me)
        self._other = None

        async def hear(message: Msg) -> None:
            self._hear(message.data)
            if message.reply:
                await link.client.publish(message.reply, me)

        subscription = await link.client.subscribe(subject, cb=hear)
        inbox = link.client.new_inbox()

        async def answered(message: Msg) -> None:
            self._hear(message.data)

        answers = await link.client.subscribe(inbox, cb=answered)
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

    def _hear(self, data: bytes) -> None:
        try:
            other = msgspec.json.decode(data, type=Holder)
        except msgspec.MsgspecError:
            return
        if other < self._me:
            self._other = other
