"""Plays many Twilio calls from one process, each packet when it falls due: ``python -m sim.load.sender``.  [IO]

One line of JSON with an `Order` comes on standard input, and, once this process has said that it is ready, one with a
`Go`; the end of the input ends all calls. What happens is told on standard output, a line each: `Ready`, `Began`,
`Failed`, `Progress`.
"""

from __future__ import annotations

import asyncio
import heapq
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import numpy as np
import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.frames import Frame, Opcode

from gateway.client.codecs import CLIP_RATE_HZ, Samples
from gateway.client.media import TwilioCall
from sim.clips import SHIPPED, load

FRAMES_A_SECOND = 50
TRACKS = ("inbound", "outbound")
TURN_S = 5
"""For so long one of the two speaks, then the other."""
TICK_S = 0.001
"""What falls due within this is sent in one go: finer sleeps cost the sender more than they spread."""
MAX_UNSENT_BYTES = 1 << 20
"""About 14 s of a call: a gateway that leaves so much unread has lost the call."""
_SPEECH_RMS = 0.08
_LINE_NOISE_RMS = 3e-4
_VOICE = SHIPPED / "flite_slt" / "1.ogg"
_LONGEST_SLEEP_S = 0.02


class Order(msgspec.Struct, frozen=True):
    """What one process is to play."""

    url: str
    token: str | None
    twilio_auth_token: str | None
    starts_s: dict[str, float]
    """When each call begins, by call id, in seconds from `Go.at_s`."""
    ends_s: float
    """When all of them end."""


class Go(msgspec.Struct, frozen=True):
    """Begin."""

    at_s: float
    """On `time.monotonic`, which all processes of one machine share."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The order was understood."""


class Began(msgspec.Struct, frozen=True, tag=True):
    """A call is connected."""

    call_id: str
    at_s: float
    """When its first sample was spoken, on `time.monotonic`."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """A call was refused, or broke off."""

    call_id: str
    reason: str


class Progress(msgspec.Struct, frozen=True, tag=True):
    """Told once a second."""

    late_s: float
    """By how much the latest packet of that second was sent too late."""


Told = Ready | Began | Failed | Progress


class Frames:
    """A call's audio as bytes for the socket, 20 ms of both tracks at a time: one speaks, the other listens.

    They are the same for all calls, and laid out and masked once, when first needed, so that one process has time for
    many. 1 minute takes 2 MB.
    """

    def __init__(self) -> None:
        # A client for each track: resamplers give packets in bursts, and numbers must rise in the order of sending.
        self._clients = {track: TwilioCall("http://127.0.0.1", "CA", tracks=(track,)) for track in TRACKS}
        self._heard = _conversation()
        self._ready: dict[str, deque[str]] = {track: deque() for track in TRACKS}
        self._made: list[bytes] = []

    def first(self, count: int) -> list[bytes]:
        """Return so many from the beginning."""
        return [self[index] for index in range(count)]

    def __getitem__(self, index: int) -> bytes:
        while len(self._made) <= index:
            for track, samples in next(self._heard).items():
                self._ready[track].extend(self._clients[track].packets(track, samples))
            while all(self._ready.values()):
                messages = [Frame(Opcode.TEXT, packets.popleft().encode()) for packets in self._ready.values()]
                self._made.append(b"".join(message.serialize(mask=True) for message in messages))
        return self._made[index]


def _conversation() -> Iterator[Mapping[str, Samples]]:
    """Yield what each track carries, 20 ms at a time, without end."""
    speech = np.resize(load(_VOICE), TURN_S * CLIP_RATE_HZ)
    speech = np.asarray(speech * (_SPEECH_RMS / np.sqrt(np.mean(speech**2))), np.float32)
    silence = np.random.default_rng(0).normal(0, _LINE_NOISE_RMS, len(speech)).astype(np.float32)
    step = CLIP_RATE_HZ // FRAMES_A_SECOND
    while True:
        for inbound, outbound in ((speech, silence), (silence, speech)):
            for at in range(0, len(speech), step):
                yield {"inbound": inbound[at : at + step], "outbound": outbound[at : at + step]}


class Pacer:
    """Sends each call its frames as they fall due: a frame when the audio in it has been spoken, not when it began."""

    def __init__(self) -> None:
        self.late_s = 0.0
        """By how much the latest packet was sent too late, since this was last set to 0."""
        self._frames = Frames()
        self._due: list[tuple[float, int, int]] = []
        self._calls: dict[int, tuple[ClientConnection, float]] = {}
        self._count = 0

    def add(self, socket: ClientConnection, began_s: float) -> int:
        """Take a call whose first sample is spoken at `began_s` (`time.monotonic`); return its number."""
        self._count += 1
        self._calls[self._count] = (socket, began_s)
        heapq.heappush(self._due, (began_s + 1 / FRAMES_A_SECOND, self._count, 0))
        return self._count

    def remove(self, number: int) -> None:
        """Send this call nothing more."""
        self._calls.pop(number, None)

    async def run(self, until_s: float) -> None:
        """Send until then (`time.monotonic`)."""
        while (now_s := time.monotonic()) < until_s:
            next_s = self._due[0][0] if self._due else until_s
            await asyncio.sleep(min(_LONGEST_SLEEP_S, max(TICK_S, next_s - now_s)))
            self._send_due(time.monotonic())

    def _send_due(self, now_s: float) -> None:
        while self._due and self._due[0][0] <= now_s:
            due_s, number, index = heapq.heappop(self._due)
            if (call := self._calls.get(number)) is None or call[0].transport.is_closing():
                continue
            self.late_s = max(self.late_s, now_s - due_s)
            transport, began_s = call[0].transport, call[1]
            if transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
                transport.abort()
                continue
            transport.write(self._frames[index])
            heapq.heappush(self._due, (began_s + (index + 2) / FRAMES_A_SECOND, number, index + 1))


class Sender:
    """Plays an order."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._pacer = Pacer()
        self._over = asyncio.Event()

    async def play(self, began_s: float) -> None:
        """Play all calls; `began_s`: the zero of the order's times."""
        ends_s = began_s + self._order.ends_s
        async with asyncio.TaskGroup() as group:
            for call_id, starts_s in self._order.starts_s.items():
                group.create_task(self._call(call_id, began_s + starts_s))
            while (now_s := time.monotonic()) < ends_s and not self._over.is_set():
                await self._pacer.run(min(ends_s, now_s + 1.0))
                tell(Progress(self._pacer.late_s))
                self._pacer.late_s = 0.0
            self._over.set()

    def stop(self) -> None:
        """End all calls."""
        self._over.set()

    async def _call(self, call_id: str, starts_s: float) -> None:
        if await self._is_over(starts_s - time.monotonic()):
            return
        order = self._order
        call = TwilioCall(order.url, call_id, order.twilio_auth_token, token=order.token)
        opened: list[ClientConnection] = []

        async def dial(url: str, headers: Mapping[str, str], subprotocol: str | None) -> ClientConnection:  # noqa: ARG001
            opened.append(await connect(url, additional_headers=headers, compression=None, ping_interval=None))
            return opened[0]

        call.dial = dial
        try:
            async with call:
                began_s = time.monotonic()
                tell(Began(call_id, began_s))
                number = self._pacer.add(opened[0], began_s)
                try:
                    await self._until_over_or(opened[0])
                finally:
                    self._pacer.remove(number)
                await call.stop()
        except (OSError, WebSocketException) as error:
            tell(Failed(call_id, str(error) or type(error).__name__))

    async def _is_over(self, within_s: float) -> bool:
        """Wait so long; return whether all calls are to end."""
        try:
            await asyncio.wait_for(self._over.wait(), max(0.0, within_s))
        except TimeoutError:
            return False
        return True

    async def _until_over_or(self, socket: ClientConnection) -> None:
        """Wait until all calls are to end, or this one was ended by the gateway."""
        over = asyncio.create_task(self._over.wait())
        closed = asyncio.create_task(socket.wait_closed())
        await asyncio.wait([over, closed], return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        closed.cancel()


def tell(what: Told) -> None:
    """Say it to the process that started this one."""
    sys.stdout.write(msgspec.json.encode(what).decode() + "\n")
    sys.stdout.flush()


async def _main() -> None:
    loop = asyncio.get_running_loop()
    told = asyncio.StreamReader(limit=1 << 24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
    order = msgspec.json.decode(await told.readline(), type=Order)
    sender = Sender(order)
    tell(Ready())
    if not (line := await told.readline()):
        return

    async def stop_at_the_end_of_input() -> None:
        await told.read()
        sender.stop()

    stopping = asyncio.create_task(stop_at_the_end_of_input())
    await sender.play(msgspec.json.decode(line, type=Go).at_s)
    stopping.cancel()


def command() -> tuple[str, ...]:
    """Return the command that runs this file."""
    return (sys.executable, "-m", f"{__package__}.{Path(__file__).stem}")


if __name__ == "__main__":
    uvloop.run(_main())
