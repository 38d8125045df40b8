from __future__ import annotations

import asyncio
import json
import time

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve

from sim.load.sender import FRAMES_A_SECOND, Frames, Pacer


class Listener:
    """A bare websocket server that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: dict[str, list[str]] = {}

    async def __call__(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        messages = self.heard.setdefault(socket.request.path, [])
        async for message in socket:
            messages.append(str(message))


async def run_until_heard(pacer: Pacer, count: int, by: list[str]) -> None:
    async with asyncio.timeout(10):
        while len(by) < count:
            await pacer.run(time.monotonic() + 0.02)


async def test_two_calls_get_the_same_frames_in_order_each_from_its_own_beginning() -> None:
    listener, pacer = Listener(), Pacer()
    async with serve(listener, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()[:2]
        sockets: list[ClientConnection] = [await connect(f"ws://{host}:{port}/{name}") for name in "ab"]
        began_s = time.monotonic()
        pacer.add(sockets[0], began_s)
        late = pacer.add(sockets[1], began_s + 60.0)
        await run_until_heard(pacer, 20, listener.heard["/a"])
        assert time.monotonic() - began_s > 10 / FRAMES_A_SECOND  # a frame is sent when the audio in it was spoken
        assert listener.heard["/b"] == []
        pacer.remove(late)
        pacer.add(sockets[1], began_s - 1.0)  # a second of it is due at once
        await run_until_heard(pacer, 100, listener.heard["/b"])
        await sockets[0].close()
        await run_until_heard(pacer, len(listener.heard["/b"]) + 4, listener.heard["/b"])  # the other one goes on
        await sockets[1].close()
    heard = listener.heard["/a"][:20]
    assert heard == listener.heard["/b"][:20]
    assert pacer.late_s > 0.9
    media = [json.loads(message)["media"] for message in heard]
    assert [one["track"] for one in media] == ["inbound", "outbound"] * 10
    assert [one["chunk"] for one in media[::2]] == [str(number) for number in range(1, 11)]


def test_frames_are_made_once() -> None:
    frames = Frames()
    assert frames[7] is frames.first(8)[7]
    assert len(frames.first(3)) == 3
