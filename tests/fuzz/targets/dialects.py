"""Every websocket dialect, from the upgrade on; AudioSocket; a voice of RTP.

The first part of an input to a websocket dialect is the upgrade: query and headers, as JSON. The others are messages.
What each dialect hears is read by a `Reader`; that legs bear it is for `calls` and `rtp-calls`, where they are whole.
"""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pylibsrtp
from aiortc.rtp import is_rtcp
from starlette.datastructures import Headers, QueryParams

from gateway.client.audiosocket import frame, leg_uuid
from gateway.errors import BadMessage, ProtocolError, RequestError
from gateway.ingest.audiosocket.door import AudioSocketDoor
from gateway.ingest.dialects.audiosocket import AudioSocket
from gateway.ingest.dialects.base import Handshake
from gateway.ingest.events import AudioFormat, AudioReceived, CallId, LegDescription, LegId, StreamStarted
from gateway.ingest.kinds import KINDS
from gateway.ingest.rtp.voice import OPUS, SRTP_SUITES, STATIC, RtpDemux, Voice, srtp_session
from tests.fuzz.mutations import Choice, Draw, Input, Part, any_part, binary, json_text, sequences
from tests.fuzz.target import Target
from tests.fuzz.targets.listener import DOOR, Ears, Listener, Reader
from tests.gateway import goldens
from tests.gateway.goldens import Golden
from tests.gateway.rtp import packet
from tests.gateway.wire import TWILIO_STOP, twilio_media, twilio_start

PCM = bytes(range(64)) * 10
"""20 ms of 16 kHz."""
SESSION, ORGANIZATION = "e160e428-53e2-487c-977d-96989bf5c99d", "d7934305-0972-4844-938e-9060eef73d05"
SECRET = "a secret of the house"


def upgrade(query: str = "", **headers: str) -> str:
    return json.dumps({"query": query, "headers": {name.replace("_", "-"): value for name, value in headers.items()}})


def stream(golden: Golden, query: str = "") -> Input:
    return (upgrade(query), *golden.opening, golden.media, golden.media, *golden.closing)


def genesys(kind: str, seq: int, **parameters: Any) -> str:
    envelope = {"version": "2", "id": SESSION, "type": kind, "seq": seq, "serverseq": 0, "position": "PT0S"}
    return json.dumps(envelope | {"parameters": parameters})


BOTH = {"type": "audio", "format": "PCMU", "channels": ["external", "internal"], "rate": 8000}
OPEN: dict[str, Any] = {
    "organizationId": ORGANIZATION,
    "conversationId": "090eaa2f-72fa-480a-83e0-8667ff89c0ec",
    "participant": {"id": "883efee8", "ani": "+1-555-555-1234", "dnis": "+1-800-555-6789"},
    "media": [BOTH, BOTH | {"format": "L16"}, BOTH | {"channels": ["external"]}],
    "customConfig": {"role_external": "customer"},
}
AUDIOHOOK = upgrade(audiohook_session_id=SESSION, audiohook_organization_id=ORGANIZATION)
ASTERISK = upgrade("call_id=1763800000.10&leg=caller&role=caller", sec_websocket_protocol="media")

CORPUS: dict[str, list[Input]] = {
    "asterisk": [
        (ASTERISK, PCM, "MEDIA_START connection_id:c channel:x format:slin16 ptime:20", PCM, PCM),
        (ASTERISK, '{"event":"MEDIA_START","format":"ulaw","variables":{"A":"1"}}', PCM, '{"event":"DTMF_END"}'),
        (ASTERISK, "MEDIA_START format:opus", b"\x78" + bytes(40), b"\x7b\x03" + bytes(90)),
        (ASTERISK, "MEDIA_START format:g722", PCM[:160], "MEDIA_XOFF", PCM[:160]),
    ],
    "bandwidth": [stream(goldens.BANDWIDTH)],
    "exotel": [stream(goldens.EXOTEL, "sample-rate=16000")],
    "freeswitch": [
        (upgrade(), PCM, goldens.FREESWITCH, PCM, PCM, '{"dtmf":"1"}'),
        (upgrade("call_id=c&rate=16k&mix=mono"), PCM, goldens.FREESWITCH),
    ],
    "genesys": [
        (
            AUDIOHOOK,
            genesys("open", 1, **OPEN),
            PCM,
            genesys("ping", 2, rtt="PT0.1S"),
            genesys("paused", 3),
            genesys("discarded", 4, start="PT0.04S", discarded="PT1.5S"),
            genesys("resumed", 5, start="PT1.54S", discarded="PT2.5S"),
            PCM,
            genesys("update", 6, language="en"),
            genesys("close", 7, reason="end"),
        ),
    ],
    "jambonz": [(upgrade(), goldens.JAMBONZ, PCM, PCM)],
    "livekit": [
        (upgrade("token=t&call_id=room-1&leg=alice&role=customer&rate=48000&channels=2"), PCM, '{"muted":true}', PCM)
    ],
    "plain": [
        (upgrade("call_id=c-1&leg=caller,callee&encoding=s16le&rate=16000&channels=2&role_caller=caller"), PCM, PCM),
        (upgrade("call_id=c-1&leg=caller"), PCM, "text"),
    ],
    "plivo": [stream(goldens.PLIVO)],
    "signalwire": [stream(goldens.SIGNALWIRE)],
    "telnyx": [
        stream(goldens.TELNYX),
        tuple(part.replace("PCMA", "L16") if isinstance(part, str) else part for part in stream(goldens.TELNYX)),
    ],
    "twilio": [
        (upgrade(), twilio_start("CA1", role="agent"), twilio_media(0), twilio_media(1, "outbound"), TWILIO_STOP),
        (upgrade(), twilio_media(0), '{"event":"connected"}', twilio_start("CA1", ("inbound",)), twilio_media(1)),
    ],
    "vonage": [(upgrade(), goldens.VONAGE, PCM, '{"event":"websocket:dtmf","digit":"5"}')],
}  # fmt: skip


@functools.lru_cache(maxsize=100)
def handshake_of(part: Part) -> Handshake:
    """Read the first part of an input, as far as it can be, to what HTTP lets through."""
    try:
        said = json.loads(part)
    except (ValueError, RecursionError):
        said = {}
    said = said if isinstance(said, dict) else {}
    given = said.get("headers")
    headers = [
        (name.lower().encode("latin-1", "replace"), str(value).encode("latin-1", "replace"))
        for name, value in (given if isinstance(given, dict) else {}).items()
    ]
    query = QueryParams(str(said.get("query")).encode("utf-8", "replace"))
    return Handshake("wss://gw.example.com/v1/media/x", query, Headers(raw=headers), "192.0.2.1", 1_790_000_000.0)


def play_dialect(name: str, given: Input, listener: type[Listener] = Reader) -> None:
    """As `gateway.ingest.websocket` does it."""
    first, *messages = given or ("",)
    try:
        dialect = KINDS[name].open(handshake_of(first), DOOR)
    except RequestError:
        return
    ears = listener()
    if dialect.started is not None:
        ears.take([dialect.started])
    for message in messages:
        came = message.encode("utf-8", "replace").decode() if isinstance(message, str) else message
        try:
            ears.take(dialect.receive(came))
        except BadMessage:
            continue
        except RequestError:
            break
        for reply in dialect.replies():
            assert len(reply) < 1000 + 2 * len(came), "an answer is no longer than the question, more or less"
            if isinstance(reply, str):
                reply.encode()
    dialect.awaits()
    dialect.goodbye("shutdown")
    ears.end(came_bytes=sum(map(len, messages)))


def play_call(given: Input) -> None:
    """A call of the dialect whose name comes first, heard by whole legs."""
    name, *rest = given or ("",)
    play_dialect(str(name) if name in KINDS else "twilio", tuple(rest), Ears)


IDENTIFIED = frame(0x01, leg_uuid(SECRET, b"\1\2\3\4\5\6", 1).bytes)
AUDIOSOCKET = [
    (IDENTIFIED, frame(0x10, PCM), frame(0x03, b"5"), frame(0x10, PCM), frame(0x00)),
    (IDENTIFIED + frame(0x12, PCM) + frame(0x12, PCM), IDENTIFIED, frame(0xFF, b"\1")),
]


def play_audiosocket(given: Input) -> None:
    """As `gateway.ingest.audiosocket.port` does it, in the pieces that come."""
    door = AudioSocketDoor.model_validate({"secret": SECRET, "legs": ("caller",)})
    dialect = AudioSocket(lambda uuid: door.identify(uuid, {}))
    ears = Reader()
    for piece in given:
        data = piece if isinstance(piece, bytes) else piece.encode("utf-8", "replace")
        try:
            if not ears.take_tolerantly(dialect.receive(data)):
                break
        except RequestError:
            break
    ears.end(came_bytes=sum(map(len, given)))


BYE = bytes.fromhex("80cb0001 00000007")
REPORT = bytes.fromhex("80c80006 00000007 0000000000000000 00000000 00000001 000000a0") + BYE
EXTENDED = b"\x90" + packet(b"", 3, 480)[1:] + bytes.fromhex("bede0001 10ff0000") + bytes(160)
RTP = [
    (packet(PCM[:160], 1, 0), packet(PCM[:160], 2, 160), packet(b"\x01\x02\x03\x04", 3, 320, payload_type=101), BYE),
    (packet(PCM[:160], 65_535, 0), packet(PCM[:160], 0, 2**32 - 1), EXTENDED, packet(PCM, 5, 3, ssrc=8), REPORT),
    tuple(packet(b"\x7b\x03" + bytes(60), index, 960 * index, payload_type=111) for index in range(3)),
]
SUITE, KEY = "AES_CM_128_HMAC_SHA1_80", "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"


def play_rtp(listener: type[Listener], given: Input, protect: Callable[[bytes], bytes] | None = None) -> None:
    """As `gateway.ingest.rtp.port` does it, for a leg of each codec."""
    srtp = srtp_session(SUITE, KEY) if protect else None
    demux = RtpDemux([Voice(LegId("a"), STATIC | {111: OPUS})], srtp)
    ears: dict[AudioFormat, Listener] = {}
    for at, part in enumerate(given):
        data = part if isinstance(part, bytes) else part.encode("utf-8", "replace")
        try:
            found = demux.receive(protect(data) if protect else data, ("192.0.2.1", 4000 + at % 2), at / 2)
        except ProtocolError:
            continue
        voice, audio = found or (None, None)
        if voice is None or audio is None or voice.codec is None:
            continue
        if (leg := ears.get(voice.codec.format)) is None:
            leg = ears[voice.codec.format] = listener()
            leg.take([StreamStarted(CallId("c"), "rtp", (LegDescription(voice.leg, voice.codec.format),))])
        leg.take_tolerantly([AudioReceived(voice.leg, audio.payload, audio.seq, audio.start_ms)])
    for leg in ears.values():
        leg.end(came_bytes=sum(map(len, given)))


def play_srtp(given: Input) -> None:
    """Packets from somebody who has the key, and, every fourth time, from somebody who has none."""
    if len(given) % 4 == 0:
        play_rtp(Reader, given, lambda data: data)
        return
    policy = pylibsrtp.Policy(
        base64.b64decode(KEY), pylibsrtp.Policy.SSRC_ANY_OUTBOUND, srtp_profile=SRTP_SUITES[SUITE]
    )
    session = pylibsrtp.Session(policy)

    def protect(data: bytes) -> bytes:
        try:
            return session.protect_rtcp(data) if is_rtcp(data) else session.protect(data)
        except (pylibsrtp.Error, ValueError):  # no packet, or one that cannot be sent
            return data

    play_rtp(Reader, given, protect)


def _upgrade_or_message(draw: Draw, part: Part) -> Part:
    """Mutate an upgrade now and then inside its fields, for as JSON it never comes off the wire."""
    if isinstance(part, str) and part.startswith('{"query"'):
        return json_text(draw, part)
    return any_part(draw, part)


def _bytes(draw: Draw, part: Part) -> Part:
    return binary(draw, part if isinstance(part, bytes) else part.encode("utf-8", "replace"))


def _inputs(corpus: list[Input]) -> Choice[Input]:
    return sequences(corpus, _upgrade_or_message, keep=1)


def _call_inputs() -> Choice[Input]:
    calls = [(name, *one) for name, streams in CORPUS.items() for one in streams]
    return sequences(calls, _upgrade_or_message, keep=2)


def _packets(corpus: Sequence[tuple[bytes, ...]]) -> Choice[Input]:
    return sequences([tuple(one) for one in corpus], _bytes)


TARGETS = [
    *(Target(name, _inputs(CORPUS[name]), partial(play_dialect, name)) for name in KINDS),
    Target("audiosocket", _packets(AUDIOSOCKET), play_audiosocket),
    Target("rtp", _packets(RTP), partial(play_rtp, Reader)),
    Target("srtp", _packets(RTP), play_srtp),
    Target("calls", _call_inputs(), play_call, slow=True),
    Target("rtp-calls", _packets(RTP), partial(play_rtp, Ears), slow=True),
]
