"""Plays many Twilio calls from one process, each packet when it is due: ``python -m sim.load.sender``.  [IO]

Reads one line of JSON with an `Order` from standard input and, after it has written `Ready`, one with a `Go`; the end
of the input ends all calls. Writes messages to standard output, one a line: `Ready`, `Began`, `Failed`, `Progress`.
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
"""The two speakers take turns of this length."""
TICK_S = 0.001
"""Packets due within this time are sent together: shorter sleeps cost the sender more CPU than they are worth."""
MAX_UNSENT_BYTES = 1 << 20
"""About 14 s of a call; a gateway that leaves this much unread no longer processes the call."""
_SPEECH_RMS = 0.08
_LINE_NOISE_RMS = 3e-4
_VOICE = SHIPPED / "flite_slt" / "1.ogg"
_LONGEST_SLEEP_S = 0.02


class Order(msgspec.Struct, frozen=True):
    """The calls of one process."""

    url: str
    token: str | None
    twilio_auth_token: str | None
    starts_s: dict[str, float]
    """Start of each call by call id, in seconds from `Go.at_s`."""
    ends_s: float
    """End of all calls, in seconds from `Go.at_s`."""


class Go(msgspec.Struct, frozen=True):
    """Start."""

    at_s: float
    """In `time.monotonic`, which all processes of a machine share."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The order was received."""


class Began(msgspec.Struct, frozen=True, tag=True):
    """A call is connected."""

    call_id: str
    at_s: float
    """Time of its first sample, in `time.monotonic`."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """A call was refused or broken off."""

    call_id: str
    reason: str


class Progress(msgspec.Struct, frozen=True, tag=True):
    """Sent once a second."""

    late_s: float
    """Largest delay of a packet in that second."""


Message = Ready | Began | Failed | Progress


class Frames:
    """A call's audio as bytes for the socket, 20 ms of both tracks at a time: one speaks, the other is silent.

    All calls send the same frames. They are encoded and masked once, on first use, so that one process can send many
    calls. One minute takes 2 MB.
    """

    def __init__(self) -> None:
        # A client for each track: resamplers return packets in bursts, but sequence numbers must rise in sending order.
        self._clients = {track: TwilioCall("http://127.0.0.1", "CA", tracks=(track,)) for track in TRACKS}
        self._heard = _conversation()
        self._ready: dict[str, deque[str]] = {track: deque() for track in TRACKS}
        self._made: list[bytes] = []

    def first(self, count: int) -> list[bytes]:
        """Return the first `count` frames."""
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
    """Yield the audio of each track, 20 ms at a time, without end."""
    speech = np.resize(load(_VOICE), TURN_S * CLIP_RATE_HZ)
    speech = np.asarray(speech * (_SPEECH_RMS / np.sqrt(np.mean(speech**2))), np.float32)
    silence = np.random.default_rng(0).normal(0, _LINE_NOISE_RMS, len(speech)).astype(np.float32)
    step = CLIP_RATE_HZ // FRAMES_A_SECOND
    while True:
        for inbound, outbound in ((speech, silence), (silence, speech)):
            for at in range(0, len(speech), step):
                yield {"inbound": inbound[at : at + step], "outbound": outbound[at : at + step]}


class Pacer:
    """Sends the frames of each call when they are due: at the end of their audio, not at its start."""

    def __init__(self) -> None:
        self.late_s = 0.0
        """Largest delay of a packet since this was last set to 0."""
        self._frames = Frames()
        self._due: list[tuple[float, int, int]] = []
        self._calls: dict[int, tuple[ClientConnection, float]] = {}
        self._count = 0

    def add(self, socket: ClientConnection, began_s: float) -> int:
        """Add a call with its first sample at `began_s` (`time.monotonic`); return its number."""
        self._count += 1
        self._calls[self._count] = (socket, began_s)
        heapq.heappush(self._due, (began_s + 1 / FRAMES_A_SECOND, self._count, 0))
        return self._count

    def remove(self, number: int) -> None:
        """Stop sending a call."""
        self._calls.pop(number, None)

    async def run(self, until_s: float) -> None:
        """Send until this time (`time.monotonic`)."""
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
    """Plays the calls of an order."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._pacer = Pacer()
        self._over = asyncio.Event()

    async def play(self, began_s: float) -> None:
        """Play all calls; the order's times count from `began_s`."""
        ends_s = began_s + self._order.ends_s
        async with asyncio.TaskGroup() as group:
            for call_id, starts_s in self._order.starts_s.items():
                group.create_task(self._call(call_id, began_s + starts_s))
            while (now_s := time.monotonic()) < ends_s and not self._over.is_set():
                await self._pacer.run(min(ends_s, now_s + 1.0))
                send(Progress(self._pacer.late_s))
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
                send(Began(call_id, began_s))
                number = self._pacer.add(opened[0], began_s)
                try:
                    await self._until_over_or(opened[0])
                finally:
                    self._pacer.remove(number)
                await call.stop()
        except (OSError, WebSocketException) as error:
            send(Failed(call_id, str(error) or type(error).__name__))

    async def _is_over(self, within_s: float) -> bool:
        """Wait `within_s` seconds; return whether all calls are to end."""
        try:
            await asyncio.wait_for(self._over.wait(), max(0.0, within_s))
        except TimeoutError:
            return False
        return True

    async def _until_over_or(self, socket: ClientConnection) -> None:
        """Wait until all calls are to end, or the gateway has ended this one."""
        over = asyncio.create_task(self._over.wait())
        closed = asyncio.create_task(socket.wait_closed())
        await asyncio.wait([over, closed], return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        closed.cancel()


def send(what: Message) -> None:
    """Write a message to the parent process."""
    sys.stdout.write(msgspec.json.encode(what).decode() + "\n")
    sys.stdout.flush()


async def _main() -> None:
    loop = asyncio.get_running_loop()
    stdin = asyncio.StreamReader(limit=1 << 24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    order = msgspec.json.decode(await stdin.readline(), type=Order)
    sender = Sender(order)
    send(Ready())
    if not (line := await stdin.readline()):
        return

    async def stop_at_the_end_of_input() -> None:
        await stdin.read()
        sender.stop()

    stopping = asyncio.create_task(stop_at_the_end_of_input())
    await sender.play(msgspec.json.decode(line, type=Go).at_s)
    stopping.cancel()


def command() -> tuple[str, ...]:
    """Return the command line of this module."""
    return (sys.executable, "-m", f"{__package__}.{Path(__file__).stem}")


if __name__ == "__main__":
    uvloop.run(_main())
