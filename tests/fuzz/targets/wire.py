"""Below HTTP and websockets: request lines by which connections are routed, and frames; and what comes over NATS."""

from __future__ import annotations

import contextlib
import re
from urllib.parse import unquote

import msgspec
from starlette.datastructures import QueryParams
from websockets.exceptions import ProtocolError as EngineError
from websockets.frames import DATA_OPCODES, Frame, Opcode
from websockets.protocol import CLOSED, CLOSING, OPEN
from websockets.server import ServerProtocol

from gateway import paths
from gateway.errors import UNREADABLE_JSON, BadMessage
from gateway.http.frames import FrameSplitter, Kind
from gateway.pool import messages
from gateway.pool.messages import Answer, Asking, Here, PoolModel
from gateway.pool.roster import Roster
from gateway.workers.routing import MAX_LINE_BYTES, is_for, route_of
from tests.fuzz.mutations import Draw, Input, Part, any_part, binary, sequences, wire_text
from tests.fuzz.target import Target

MAX_BYTES = 4096
"""Of a message here; 64 KiB of frames are then too large now and then, too."""
OPCODES = {Kind.TEXT: Opcode.TEXT, Kind.BINARY: Opcode.BINARY}
_VISIBLE = re.compile(rb"GET ([\x21-\x7e]+) HTTP/1\.1\r\n")


def _bytes(part: Part) -> bytes:
    return part if isinstance(part, bytes) else part.encode("utf-8", "replace")


def frame(first: int, body: bytes = b"", mask: bytes = b"\1\2\3\4") -> bytes:
    """A frame as a client sends it (RFC 6455 section 5.2), with FIN and opcode in `first`."""
    size = len(body)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2)
    return bytes([first]) + length + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(body))


def play_frames(given: Input) -> None:
    """Cut as it comes, and byte by byte: the same frames as the engine alone finds in the whole."""
    whole = b"".join(map(_bytes, given))
    alone = _by_engine([whole])
    assert _by_splitter(list(map(_bytes, given))) == alone
    if len(whole) < 200:
        assert _by_splitter([bytes([byte]) for byte in whole]) == alone


def _by_engine(pieces: list[bytes]) -> list[Frame]:
    engine = ServerProtocol(state=OPEN, max_size=MAX_BYTES)
    return [one for piece in pieces for one in _heard(engine, piece)]


def _by_splitter(pieces: list[bytes]) -> list[Frame]:
    """As `gateway.http.connection` does it."""
    engine, splitter = ServerProtocol(state=OPEN, max_size=MAX_BYTES), FrameSplitter(MAX_BYTES)
    frames: list[Frame] = []
    for piece in pieces:
        for kind, body in splitter.split(piece):
            if kind is Kind.OTHER:
                frames += _heard(engine, body)
            elif engine.state not in (CLOSING, CLOSED):
                frames.append(Frame(OPCODES[kind], body))
    return frames


def _heard(engine: ServerProtocol, data: bytes) -> list[Frame]:
    """The messages' frames; those of control are the engine's own business."""
    try:
        engine.receive_data(data)
    except EngineError:
        return []
    return [
        Frame(event.opcode, bytes(event.data), event.fin)
        for event in engine.events_received()
        if isinstance(event, Frame) and event.opcode in DATA_OPCODES
    ]


def play_request_line(given: Input) -> None:
    """Whichever process gets a request: one of them serves it, and it is of the call that its door will find there."""
    for part in given:
        head = _bytes(part)[:MAX_LINE_BYTES]
        route = route_of(head)
        assert sum(is_for(number, route, 3) for number in range(3)) in (1, 3)
        line = _VISIBLE.match(head)
        path, _, query = line[1].decode().partition("?") if line else ("", "", "")
        if route.media and path.startswith(paths.MEDIA) and "#" not in query and path.isascii():
            found = QueryParams(query).get("call_id", "").strip()
            assert route.call_id == (found or None), "expected the call that the dialect will find"
        if route.call_id is not None and path.startswith(paths.WHIP) and "#" not in path:
            assert unquote(path).startswith(f"{paths.WHIP}{route.call_id}")


MODEL = PoolModel("0123456789abcdef", "specnet@1f3a9c2e, calibration 0123456789ab", 8)
DECODERS = [msgspec.json.Decoder(kind) for kind in (Answer, Here, Asking)]


def play_pool(given: Input) -> None:
    """Whatever comes over NATS: as any of the messages, as a subject, as the body of a job."""
    roster = Roster(MODEL)
    for part in given:
        data = _bytes(part)
        for decoder in DECODERS:
            try:
                said = decoder.decode(data)
            except UNREADABLE_JSON:
                continue
            if isinstance(said, Here):
                roster.update(said, 0.0)
        with contextlib.suppress(BadMessage):
            messages.sender(data.decode("utf-8", "replace"))
        with contextlib.suppress(BadMessage):
            messages.to_samples(data, MODEL)
    roster.expire(1000.0)
    assert roster.able == 0
    assert roster.others == []


def _frames(draw: Draw, part: Part) -> Part:
    return binary(draw, _bytes(part))


FRAMES: list[Input] = [
    (frame(0x81, b"Hello"), frame(0x82, bytes(160)), frame(0x89, b"ping"), frame(0x81, b'{"event":"media"}')),
    (frame(0x01, b"one "), frame(0x89), frame(0x00, b"two "), frame(0x80, b"three"), frame(0x82, bytes(3))),
    (frame(0x82, bytes(320)), frame(0x88, b"\x03\xe8"), frame(0x82, bytes(320))),
    (frame(0x82, bytes(5000)), frame(0x81, b"more")),
]
LINES: list[Input] = [
    (f"GET {paths.MEDIA}plain?call_id=c-1&leg=a&token=t HTTP/1.1\r\nHost: x\r\n\r\n",),
    (f"GET {paths.MEDIA}twilio/ HTTP/1.1\r\n\r\n", f"POST {paths.WHIP}c%2D1/alice?org=blue HTTP/1.1\r\n"),
    ("GET /v1/events?type=score HTTP/1.1\r\n",),
]
POOL: list[Input] = [
    (
        msgspec.json.encode(Answer(MODEL.key, 1.5, narrow=False)).decode(),
        msgspec.json.encode(Here("i-1", MODEL.key, MODEL.shown)).decode(),
        msgspec.json.encode(Asking(MODEL.key, MODEL.shown)).decode(),
    ),
    (messages.job("calls", MODEL.key, "0123456789abcdef", 7), bytes(16)),
]

TARGETS = [
    Target("websocket-frames", sequences(FRAMES, _frames), play_frames),
    Target("request-line", sequences(LINES, wire_text), play_request_line),
    Target("pool-messages", sequences(POOL, any_part), play_pool),
]
