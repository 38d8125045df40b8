"""What comes over HTTP before anybody is known: paths, queries, headers, signatures; and WHIP offers."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from typing import Any
from urllib.parse import quote

from aiortc import RTCDtlsFingerprint, RTCIceCandidate, RTCIceParameters
from starlette.datastructures import QueryParams
from starlette.types import Message, Receive, Scope, Send

from gateway.alerts.subscribers import read_query
from gateway.config_loading import load
from gateway.errors import ProtocolError, RequestError, Unauthorized
from gateway.http.web import Guard
from gateway.ingest import http_signature, jwt_signature
from gateway.ingest.dialects import plivo, twilio
from gateway.ingest.dialects.genesys import SIGNED
from gateway.ingest.doors import Door
from gateway.ingest.kinds import KINDS
from gateway.ingest.webrtc.sdp import read_offer, write_answer
from tests.fuzz.mutations import Choice, Draw, Input, Part, json_text, sequences, text
from tests.fuzz.target import Target
from tests.fuzz.targets.dialects import handshake_of, upgrade
from tests.gateway.ingest import test_http_signature as genesys
from tests.gateway.ingest import test_jwt_signature as vonage
from tests.gateway.ingest.webrtc.test_sdp import DATA, OFFER, SESSION, VIDEO

ANSWERED = [RTCIceCandidate(1, "1", "192.0.2.1", 40_000, 1, "udp", "host")]
FINGERPRINT = RTCDtlsFingerprint("sha-256", "AA:BB")


def play_offer(given: Input) -> None:
    """A WHIP offer, and the answer to it."""
    for part in given:
        try:
            offer = read_offer(_text(part))
        except RequestError:
            continue
        answer = write_answer(offer, 1, ANSWERED, RTCIceParameters("u", "p"), [FINGERPRINT])
        answer.encode()
        assert offer.dtls_role in ("client", "server")
        assert len(answer) < 2000 + 2 * len(part)


def play_query(given: Input) -> None:
    """What a subscriber wants."""
    for part in given:
        try:
            wanted, _cursor = read_query(QueryParams(_text(part).encode()))
        except ProtocolError as error:
            str(error).encode()
            continue
        assert len(wanted.types) <= 20


async def _let_in(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """The application behind the guard."""


NETWORK = {"allow_ips": ["10.0.0.0/8"]}
GUARDS = [
    Guard(_let_in, settings)
    for settings in (
        load(environ={}, token="t", public_url="https://gw.example.com", allowed_origins=["https://desk.example.com"]),
        load(
            environ={},
            doors={"exotel": {"token": "t"}, "desk": {"dialect": "plain"} | NETWORK, "telnyx": {"token": "t"}},
            whip={"token": "t"} | NETWORK,
            twilio_auth_token="k",
        ),
    )
]
REQUESTS: list[Input] = [
    (json.dumps({"guard": guard, "path": path, "query": query, "peer": "127.0.0.1", "headers": headers}),)
    for guard in range(2)
    for path, query, headers in (
        ("/v1/events", "type=score&token=t", {"host": "gw.example.com", "origin": "https://desk.example.com"}),
        ("/v1/media/exotel", "sample-rate=8000", {"host": "[::1]:8080", "authorization": "Basic Y2FsbHNjcmVlbjp0"}),
        ("/v1/media/telnyx/", "", {"host": "localhost", "x-telnyx-streaming-auth-token": "t"}),
        ("/v1/media/twilio", "a=b", {"host": "localhost:80", "x-twilio-signature": "NZBwyBHRRyRoeLqy1IzOa9VYBuI="}),
        ("/v1/media/desk", "", {"host": "localhost", "sec-websocket-protocol": "bearer.t, cloudevents.json"}),
        ("/v1/whip/c/leg", "org=blue", {"authorization": "Bearer t", "origin": "http://localhost:8080"}),
        ("/call", "", {"host": "localhost", "x-forwarded-host": "x"}),
    )
]


def play_request(given: Input) -> None:
    """An upgrade and a request with that head, of one of the guards: let in, or refused; nothing of it is awaited."""
    said = _object(given[0] if given else "")
    raw = said.get("headers")
    headers = [
        (str(name).lower().encode("latin-1", "replace"), str(value).encode("latin-1", "replace"))
        for name, value in (raw if isinstance(raw, dict) else {}).items()
    ]
    path = str(said.get("path"))
    scope: dict[str, Any] = {
        "http_version": "1.1",
        "path": path,
        "raw_path": quote(path, errors="replace").encode(),
        "root_path": "",
        "query_string": str(said.get("query")).encode("ascii", "replace"),
        "headers": headers,
        "client": (str(said.get("peer")), 40_000),  # as X-Forwarded-For has it, behind a proxy
        "server": ("127.0.0.1", 8080),
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
    }
    guard = GUARDS[said.get("guard") == 1]
    for kind in ({"type": "http", "method": "GET", "scheme": "http"}, {"type": "websocket", "scheme": "ws"}):
        sent: list[Message] = []

        async def send(message: Message, sent: list[Message] = sent) -> None:
            sent.append(message)

        async def receive() -> Message:
            raise AssertionError("nothing is read of a request that is not let in")

        _run(guard, scope | kind, receive, send)
        assert not sent or sent[0]["status"] in (401, 403, 429), sent[0]  # the last one: inputs come fast


def _run(guard: Guard, scope: Scope, receive: Receive, send: Send) -> None:
    """Run the guard to its end, which it reaches without waiting."""
    running = guard(scope, receive, send)
    try:
        running.send(None)
    except StopIteration:
        return
    raise AssertionError("the guard waits")


GUARDED = Door.model_validate({"token": "t"})
TOKEN_HEADERS = {kind.token_header for kind in KINDS.values()}


def play_signature(given: Input) -> None:
    """An upgrade that a vendor signed, or somebody who would like to be one."""
    handshake = dataclasses.replace(handshake_of(given[0] if given else ""), time_s=genesys.CREATED + 1.0)
    for check in (
        partial(http_signature.check, handshake, genesys.KEY, genesys.SECRET, SIGNED),
        partial(jwt_signature.check, handshake, vonage.SECRET),
    ):
        try:
            check()
        except Unauthorized:
            continue
    headers = handshake.headers
    twilio.signature_matches("k", [handshake.url], headers.get("x-twilio-signature", ""))
    plivo.signature_matches("k", handshake.url, headers.get("x-nonce", ""), headers.get("x-signature", ""))
    for header in TOKEN_HEADERS:
        try:
            GUARDED.check_token_and_address(handshake, header)
        except Unauthorized:
            continue


def play_claims(given: Input) -> None:
    """Claims that were signed with the right secret, whatever they are."""
    for part in given:
        claims = _object(part)
        try:
            token = vonage.bearer(claims)
        except (TypeError, ValueError, RecursionError):  # no JSON, or no claims: nobody can sign it
            continue
        handshake = handshake_of(upgrade(authorization=token))
        try:
            jwt_signature.check(handshake, vonage.SECRET)
        except Unauthorized:
            continue


def _object(part: Part) -> dict[str, Any]:
    try:
        said = json.loads(part)
    except (ValueError, RecursionError):
        said = {}
    return said if isinstance(said, dict) else {}


def _text(part: Part) -> str:
    """A text as it can come in UTF-8."""
    return part.decode("utf-8", "replace") if isinstance(part, bytes) else part.encode("utf-8", "replace").decode()


def _json(draw: Draw, part: Part) -> Part:
    return json_text(draw, _text(part))


def _words(draw: Draw, part: Part) -> Part:
    return text(draw, _text(part))


def _of(*corpus: Input, json: bool = False) -> Choice[Input]:
    return sequences(list(corpus), _json if json else _words)


QUERY = "call_id=CA1&leg=inbound&type=score,alert.raised&type=leg.ended&last_event_id=9f2c41aa07d3-000000000042&token=t"
GENESYS = upgrade(**{name.replace("-", "_"): value for name, value in genesys.HEADERS.items()},
                  signature_input=genesys.INPUT, signature=genesys.SIGNATURE)  # fmt: skip
JWT = upgrade("a=b", authorization=vonage.bearer(vonage.CLAIMS), x_signature="NZBw,NZBw", x_twilio_signature="NZBw")

TARGETS = [
    Target("whip-offer", _of((OFFER,), (SESSION + VIDEO + DATA + OFFER.removeprefix(SESSION),)), play_offer),
    Target("subscriber-query", _of((QUERY,), ("type=alert.raised",)), play_query),
    Target("http-head", _of(*REQUESTS, json=True), play_request),
    Target("signatures", _of((GENESYS,), (JWT,), json=True), play_signature),
    Target("jwt-claims", _of((json.dumps(vonage.CLAIMS),), json=True), play_claims),
]
