"""SignalWire, Telnyx, Plivo, Exotel, Bandwidth: golden streams, faults, what each vendor has of its own."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from gateway.call.leg import Leg
from gateway.errors import BadMessage, ProtocolError, RequestError, UnsupportedMedia, WrongFrameKind
from gateway.ingest.dialects.bandwidth import Bandwidth
from gateway.ingest.dialects.early import MAX_FRAMES
from gateway.ingest.dialects.exotel import Exotel
from gateway.ingest.dialects.plivo import Plivo, read_extra_headers, signature_matches
from gateway.ingest.dialects.signalwire import SignalWire
from gateway.ingest.dialects.telnyx import Telnyx
from gateway.ingest.dialects.tracks import TrackDialect
from gateway.ingest.events import (
    AudioFormat,
    AudioReceived,
    IngestEvent,
    LegId,
    MessageIgnored,
    StreamStarted,
    StreamStopped,
)
from tests.gateway.goldens import BANDWIDTH, EXOTEL, PAYLOAD, PLIVO, SIGNALWIRE, TELNYX, Golden

VENDORS = [
    (SignalWire, SIGNALWIRE, AudioFormat("s16le", 16_000)),
    (Telnyx, TELNYX, AudioFormat("alaw", 8000)),
    (Plivo, PLIVO, AudioFormat("s16le", 16_000)),
    (Exotel, EXOTEL, AudioFormat("s16le", 8000)),
    (Bandwidth, BANDWIDTH, AudioFormat("mulaw", 8000)),
]
HEARD = {
    SignalWire: AudioReceived(LegId("outbound"), PAYLOAD, None, 20.0),
    Telnyx: AudioReceived(LegId("outbound"), PAYLOAD, 2, None),
    Plivo: AudioReceived(LegId("outbound"), PAYLOAD, None, 1708407123020.0),
    Exotel: AudioReceived(LegId("caller"), PAYLOAD, None, 20.0),
    Bandwidth: AudioReceived(LegId("outbound"), PAYLOAD, None, None),
}


def hear(dialect: TrackDialect, *messages: str) -> list[IngestEvent]:
    return [event for message in messages for event in dialect.receive(message)]


@pytest.mark.parametrize(("vendor", "golden", "audio"), VENDORS)
def test_a_whole_stream(vendor: type[TrackDialect], golden: Golden, audio: AudioFormat) -> None:
    started, heard, *ended = hear(vendor({"outbound": "agent"}), *golden.opening, golden.media, *golden.closing)
    assert isinstance(started, StreamStarted)
    assert (started.call_id, started.source, started.separation) == ("c-1", vendor.source, "separate")
    told = {leg.leg: (leg.format, leg.role, leg.direction) for leg in started.legs}
    if vendor is Exotel:
        assert told == {"caller": (audio, "customer", "received_from_party")}
    else:
        assert told == {
            "inbound": (audio, "customer", "received_from_party"),
            "outbound": (audio, "agent", "sent_to_party"),
        }
    assert heard == HEARD[vendor]
    assert ended == [StreamStopped() for _ in golden.closing]


@pytest.mark.parametrize(("vendor", "golden", "_audio"), VENDORS)
def test_faults_are_told_by_their_field(vendor: type[TrackDialect], golden: Golden, _audio: AudioFormat) -> None:
    kind = "eventType" if vendor is Bandwidth else "event"
    with pytest.raises(ProtocolError, match="expected one stream on this connection"):
        hear(vendor(), *golden.opening, golden.opening[-1].replace("c-1", "c-2"))
    with pytest.raises(WrongFrameKind):
        vendor().receive(b"\x00")
    with pytest.raises(BadMessage, match="expected JSON"):
        vendor().receive("{")
    with pytest.raises(BadMessage, match=f"{kind}: expected the type of this message"):
        vendor().receive("{}")
    with pytest.raises(BadMessage, match="invalid base64"):
        hear(vendor(), *golden.opening, golden.media.replace("/38AgA==", "*"))
    with pytest.raises(BadMessage):
        hear(vendor(), *golden.opening, json.dumps({kind: "media"}))
    with pytest.raises(ProtocolError) as fault:
        hear(vendor(), *golden.opening[:-1], json.dumps({kind: "start"}))
    assert not isinstance(fault.value, BadMessage), "nothing can begin with that"


@pytest.mark.parametrize(("vendor", "golden", "_audio"), VENDORS)
def test_deviations_of_peers_are_accepted(vendor: type[TrackDialect], golden: Golden, _audio: AudioFormat) -> None:
    """Order, case, white space, nulls, numbers as strings and back, repeated and unknown messages."""
    kind = "eventType" if vendor is Bandwidth else "event"
    started, heard = hear(vendor(), *golden.opening, golden.media)
    for name in ("start", "media"):
        spelt = [
            message.replace(f'"{kind}":"{name}"', f'"{kind}":" {name.upper()} "')
            for message in (*golden.opening, golden.media)
        ]
        assert hear(vendor(), *spelt) == [started, heard]
    assert hear(vendor(), golden.media, *golden.opening) == [started, heard], "media was faster"
    again = hear(vendor(), *golden.opening, golden.opening[-1], golden.media)
    assert again == [started, MessageIgnored("repeated_start"), heard]
    unknown = json.dumps({kind: "surprise", "start": 7, "media": None, "metadata": []})
    assert hear(vendor(), *golden.opening, unknown)[1:] == [MessageIgnored("unknown_event")]
    for message in golden.opening[-1], golden.media:
        fields = json.loads(message)
        padded = json.dumps(
            fields | {"new": None, "sequenceNumber": None, "streamSid": None, "extra_headers": None}, indent=2
        )
        assert len(hear(vendor(), *golden.opening[:-1], golden.opening[-1], padded)) == 2


@pytest.mark.parametrize(
    ("vendor", "golden", "field"),
    [
        (SignalWire, SIGNALWIRE, "start.customParameters"),
        (SignalWire, SIGNALWIRE, "start.streamSid"),
        (SignalWire, SIGNALWIRE, "start.tracks"),
        (SignalWire, SIGNALWIRE, "start.mediaFormat.channels"),
        (Telnyx, TELNYX, "start.custom_parameters"),
        (Telnyx, TELNYX, "start.client_state"),
        (Telnyx, TELNYX, "start.media_format.sample_rate"),
        (Telnyx, TELNYX, "start.media_format.channels"),
        (Telnyx, TELNYX, "stream_id"),
        (Plivo, PLIVO, "extra_headers"),
        (Plivo, PLIVO, "start.streamId"),
        (Plivo, PLIVO, "start.tracks"),
        (Exotel, EXOTEL, "start.custom_parameters"),
        (Exotel, EXOTEL, "start.stream_sid"),
        (Bandwidth, BANDWIDTH, "streamParams"),
        (Bandwidth, BANDWIDTH, "metadata.streamId"),
        (SignalWire, SIGNALWIRE, "media.timestamp"),
        (Plivo, PLIVO, "media.timestamp"),
        (Exotel, EXOTEL, "media.timestamp"),
        (Telnyx, TELNYX, "media.chunk"),
    ],
)
def test_optional_fields_may_be_null_or_absent(vendor: type[TrackDialect], golden: Golden, field: str) -> None:
    first, then = golden.opening[-1], golden.media.replace("outbound", "inbound")
    for is_absent in (False, True):
        messages = [without(one, field, is_absent=is_absent) for one in (first, then)]
        started, heard = hear(vendor(), *messages)
        assert isinstance(started, StreamStarted)
        assert isinstance(heard, AudioReceived)


def without(message: str, field: str, *, is_absent: bool) -> str:
    """`message` with the dotted `field`, where it has it, made null or taken away."""
    fields = json.loads(message)
    *parents, last = field.split(".")
    inner = fields
    for parent in parents:
        inner = inner.get(parent, {})
    if is_absent:
        inner.pop(last, None)
    else:
        inner[last] = None
    return json.dumps(fields)


@pytest.mark.parametrize("rate", ["16000", "16000.0", 16000.0])
def test_numbers_come_in_any_dress(rate: str | float) -> None:
    start = SIGNALWIRE.opening[-1].replace("16000", json.dumps(rate))
    (started,) = SignalWire().receive(start)
    assert isinstance(started, StreamStarted)
    assert started.legs[0].format.rate_hz == 16_000


def test_too_much_media_before_the_start_is_refused() -> None:
    dialect = SignalWire()
    with pytest.raises(ProtocolError, match="expected `start` before so much audio"):
        hear(dialect, *[SIGNALWIRE.media] * (MAX_FRAMES + 1))
    assert "media that came" in dialect.awaits()


@pytest.mark.parametrize(("vendor", "golden", "_audio"), VENDORS)
def test_words_that_are_not_media_are_let_pass(vendor: type[TrackDialect], golden: Golden, _audio: AudioFormat) -> None:
    kind = "eventType" if vendor is Bandwidth else "event"
    expected = [MessageIgnored("unknown_event")] if vendor is Bandwidth else []
    assert hear(vendor(), *golden.opening, json.dumps({kind: "dtmf", "dtmf": {"digit": "5"}}))[1:] == expected


@pytest.mark.parametrize(
    ("vendor", "golden", "old", "new", "says"),
    [
        (SignalWire, SIGNALWIRE, '"sampleRate":16000', '"sampleRate":44100', "start.mediaFormat: expected encoding"),
        (Telnyx, TELNYX, "PCMA", "AMR-WB", "pcmu at 8000 Hz"),
        (Telnyx, TELNYX, '"channels":1', '"channels":2', "one channel"),
        (Plivo, PLIVO, "audio/x-l16", "audio/opus", "start.mediaFormat: expected encoding"),
        (Exotel, EXOTEL, '"8000"', '"11025"', "start.media_format: expected encoding"),
        (Bandwidth, BANDWIDTH, "audio/PCMU", "audio/L16", "metadata.tracks.mediaFormat: expected encoding"),
        (Exotel, EXOTEL, '"8000"', '"slow"', "start.media_format.sample_rate: expected a whole number"),
        (Plivo, PLIVO, '["inbound"', '["sideways"', "start.tracks: expected inbound or outbound, got 'sideways'"),
        (Bandwidth, BANDWIDTH, '"name":"inbound"', '"name":"outbound"', "metadata.tracks: expected each track once"),
        (Bandwidth, BANDWIDTH, '"c-1"', '"../etc"', "metadata.callId: expected 1 to 128 letters"),
    ],
)
def test_a_bad_start_is_refused(vendor: type[TrackDialect], golden: Golden, old: str, new: str, says: str) -> None:
    with pytest.raises(RequestError) as fault:
        hear(vendor(), *(message.replace(old, new, 1) for message in golden.opening))
    assert says in str(fault.value)


def test_telnyx_names_codecs_by_rtp_clock() -> None:
    for encoding, rate, audio in (
        ("G722", 8000, AudioFormat("g722", 16_000)),
        ("OPUS", 16000, AudioFormat("opus", 48_000)),
        ("L16", 16000, AudioFormat("s16le", 16_000)),
    ):
        start = TELNYX.opening[-1].replace("PCMA", encoding).replace("8000", str(rate))
        (started,) = Telnyx().receive(start)
        assert isinstance(started, StreamStarted)
        assert {leg.format for leg in started.legs} == {audio}
        assert {leg.reorder_payloads for leg in started.legs} == {10}


def test_telnyx_passes_client_state_on() -> None:
    (started,) = Telnyx().receive(TELNYX.opening[-1].replace('"client_state":null', '"client_state":"Yw=="'))
    assert isinstance(started, StreamStarted)
    assert started.parameters == {"role_inbound": "customer", "client_state": "Yw=="}


def test_telnyx_parameters_may_be_a_list() -> None:
    listed = '[{"name":"role_inbound","value":"agent"}]'
    (started,) = Telnyx().receive(TELNYX.opening[-1].replace('{"role_inbound":"customer"}', listed))
    assert isinstance(started, StreamStarted)
    assert started.legs[0].role == "agent"


def test_bandwidth_tracks_may_be_mere_names() -> None:
    start = {"eventType": "start", "metadata": {"callId": "c-1", "tracks": ["inbound"]}}
    (started,) = Bandwidth().receive(json.dumps(start))
    assert isinstance(started, StreamStarted)
    assert [(leg.leg, leg.format) for leg in started.legs] == [("inbound", AudioFormat("mulaw", 8000))]


@pytest.mark.parametrize("encoding", ["raw/slin", "base64", "audio/x-raw"])
def test_exotel_has_three_words_for_the_same(encoding: str) -> None:
    (started,) = Exotel().receive(EXOTEL.opening[-1].replace("audio/x-raw", encoding))
    assert isinstance(started, StreamStarted)
    assert started.legs[0].format == AudioFormat("s16le", 8000)


def test_mulaw_has_its_rate() -> None:
    with pytest.raises(UnsupportedMedia):
        Exotel().receive(EXOTEL.opening[-1].replace("audio/x-raw", "audio/x-mulaw").replace("8000", "16000"))


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("", {}),
        ("{}", {}),
        ("tenant=blue;role=agent", {"tenant": "blue", "role": "agent"}),
        ("{X-PH-tenant: blue, X-PH-role: agent}", {"tenant": "blue", "role": "agent"}),
    ],
)
def test_plivo_extra_headers(text: str, parameters: dict[str, str]) -> None:
    assert read_extra_headers(text) == parameters


# printf '%s' "URL.NONCE" | openssl dgst -sha256 -hmac 12345 -binary | base64
@pytest.mark.parametrize(
    ("url", "signature"),
    [
        ("wss://gw.example.com/v1/media/plivo", "L5A3tGkxIV8gg1yJAxftB9EsHGkRafJ0IsvYar8ZqqQ="),
        ("https://gw.example.com/v1/media/plivo?b=2&a=1", "LdSK/aeU/CI5lVPuyujBgPFfOHSffDaDdl5JHRt6H4w="),
    ],
)
def test_plivo_signature(url: str, signature: str) -> None:
    assert signature_matches("12345", url, "n0nce", f"bm8=, {signature}")
    assert not signature_matches("12346", url, "n0nce", signature)
    assert not signature_matches("12345", url, "other", signature)
    assert not signature_matches("12345", url.replace("gw", "evil"), "n0nce", signature)
    assert not signature_matches("12345", url, "n0nce", "")


def test_telnyx_out_of_order_is_put_right() -> None:
    dialect = Telnyx()
    (started,) = dialect.receive(TELNYX.opening[-1].replace("PCMA", "L16"))
    assert isinstance(started, StreamStarted)
    inbound = started.legs[0]
    leg = Leg(inbound.format, inbound.reorder_payloads)
    chunks = [1, 11, 2, 3, 4, 5, 6, 7, 8, 9, 10, *range(12, 40)]  # one is ten chunks early
    runs = []
    for chunk in chunks:
        payload = base64.b64encode(np.full(160, chunk * 100, ">i2").tobytes()).decode()
        media = {"track": "inbound", "chunk": str(chunk), "payload": payload}
        (audio,) = dialect.receive(json.dumps({"event": "media", "media": media}))
        assert isinstance(audio, AudioReceived)
        runs += leg.push(audio)
    samples = np.concatenate([run.samples for run in runs + leg.flush()])
    assert len(samples) == 39 * 320
    levels = [round(float(samples[320 * index + 160]) * 32768 / 100) for index in range(39)]
    assert levels == list(range(1, 40))
    assert leg.counters.missing_s == leg.counters.late == 0


@pytest.mark.parametrize("order", [">i2", "<i2"])
def test_telnyx_linear_samples_in_either_byte_order(order: str) -> None:
    dialect = Telnyx()
    dialect.receive(TELNYX.opening[-1].replace("PCMA", "L16"))
    tone = np.asarray(5000 * np.sin(np.arange(8000) / 4) + np.random.default_rng(1).normal(0, 50, 8000), np.int16)
    tone[:1600] = np.random.default_rng(2).integers(-1, 2, 1600)  # a line that is nearly silent at first
    heard = b""
    for chunk, at in enumerate(range(0, 8000, 160)):
        payload = base64.b64encode(tone[at : at + 160].astype(order).tobytes()).decode()
        media = {"track": "inbound", "chunk": chunk, "payload": payload}
        (audio,) = dialect.receive(json.dumps({"event": "media", "media": media}))
        assert isinstance(audio, AudioReceived)
        heard += audio.payload
    assert np.array_equal(np.frombuffer(heard, "<i2"), tone)


def test_half_a_linear_sample_is_left_to_the_decoder() -> None:
    dialect = Telnyx()
    dialect.receive(TELNYX.opening[-1].replace("PCMA", "L16"))
    (audio,) = dialect.receive('{"event":"media","media":{"track":"inbound","chunk":1,"payload":"AAAA"}}')
    assert audio == AudioReceived(LegId("inbound"), bytes(3), 1)
