"""Who may come in: tokens, Twilio's signature, web origins. Default deny, over real sockets."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from tests.gateway.conftest import Serve
from tests.gateway.wire import SILENCE, TWILIO_STOP, refused, twilio_start, ws_url

pytestmark = pytest.mark.usefixtures("detector")

PLAIN = "/v1/media/plain?call_id=c-1&leg=caller"
BEARER = {"Authorization": "Bearer s3cret"}


@pytest.mark.parametrize("path", [PLAIN, "/v1/media/twilio", "/v1/events"])
async def test_without_the_token_no_socket_opens(serve: Serve, path: str) -> None:
    server = await serve(token="s3cret")
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "s3cret"}):
        status, problem = await refused(ws_url(server, path), additional_headers=headers)
        assert (status, problem["title"]) == (401, "Unauthorized")
        assert "s3cret" not in str(problem)


@pytest.mark.parametrize("path", ["/v1/calls", "/v1/calls/c-1", "/metrics", "/v1/whip/c-1/caller", "/nowhere"])
async def test_without_the_token_no_page_is_shown(serve: Serve, path: str) -> None:
    server = await serve(token="s3cret")
    async with httpx.AsyncClient(base_url=server.url) as web:
        answer = await web.get(path)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert (await web.get(path, headers=BEARER)).status_code != 401


async def test_health_needs_no_token(serve: Serve) -> None:
    server = await serve(token="s3cret")
    async with httpx.AsyncClient(base_url=server.url) as web:
        assert (await web.get("/healthz")).status_code == 200
        assert (await web.get("/readyz")).status_code == 200


async def test_the_token_is_taken_from_header_subprotocol_or_query(serve: Serve) -> None:
    server = await serve(token="s3cret")
    async with connect(ws_url(server, PLAIN), additional_headers=BEARER) as socket:
        await socket.send(SILENCE)
    async with connect(ws_url(server, f"{PLAIN}2&token=s3cret")) as socket:
        await socket.send(SILENCE)
    offered = [Subprotocol("bearer.s3cret"), Subprotocol("cloudevents.json")]
    async with connect(ws_url(server, "/v1/events"), subprotocols=offered) as socket:
        assert socket.subprotocol == "cloudevents.json"


def signed(url: str, key: str = "12345") -> dict[str, str]:
    digest = hmac.new(key.encode(), url.encode(), hashlib.sha1).digest()
    return {"X-Twilio-Signature": base64.b64encode(digest).decode()}


@pytest.mark.parametrize("public_url", [None, "https://gw.example.com"])
async def test_twilio_must_sign(serve: Serve, public_url: str | None) -> None:
    server = await serve(twilio_auth_token="12345", public_url=public_url, token="s3cret")
    here = ws_url(server, "/v1/media/twilio")
    called = f"{public_url}/v1/media/twilio" if public_url else here
    for headers in ({}, signed(called, key="54321"), signed("https://evil.example.com/v1/media/twilio"), BEARER):
        status, problem = await refused(here, additional_headers=headers)
        assert status == 401
        assert problem["detail"].startswith("X-Twilio-Signature: expected that of")
    async with (
        connect(ws_url(server, "/v1/events"), additional_headers=BEARER) as _,
        connect(here, additional_headers=signed(called)) as socket,
    ):
        await socket.send(twilio_start("CA1"))
        await socket.send(TWILIO_STOP)
        await socket.wait_closed()
        assert socket.close_code == 1000


@pytest.mark.parametrize("origin", ["https://evil.example.com", "null", "http://127.0.0.1:1"])
async def test_a_foreign_web_page_may_not_call_us(serve: Serve, origin: str) -> None:
    server = await serve()
    status, problem = await refused(ws_url(server, "/v1/events"), additional_headers={"Origin": origin})
    assert (status, "allowed_origins" in problem["detail"]) == (403, True)
    async with httpx.AsyncClient(base_url=server.url) as web:
        assert (await web.get("/v1/calls", headers={"Origin": origin})).status_code == 403


async def test_a_rebound_name_is_not_loopback(serve: Serve) -> None:
    server = await serve()
    headers = {"Origin": "http://evil.example.com:8080", "Host": "evil.example.com:8080"}
    async with httpx.AsyncClient(base_url=server.url) as web:
        assert (await web.get("/v1/calls", headers=headers)).status_code == 403


async def test_our_own_and_allowed_pages_may(serve: Serve) -> None:
    desk = "https://desk.example.com"
    server = await serve(allowed_origins=[desk], token="s3cret", public_url="https://gw.example.com")
    async with httpx.AsyncClient(base_url=server.url, headers=BEARER) as web:
        for origin in (desk, server.url, "https://gw.example.com"):
            assert (await web.get("/v1/calls", headers={"Origin": origin})).status_code == 200
        preflight = {"Origin": desk, "Access-Control-Request-Method": "POST"}
        answer = await web.options("/v1/whip/c/caller", headers=preflight | {"Authorization": ""})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, desk)


async def test_secrets_do_not_reach_the_logs(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    server = await serve(token="s3cret", twilio_auth_token="tw1lio")
    await refused(ws_url(server, f"{PLAIN}&token=wr0ng"))
    async with connect(ws_url(server, f"{PLAIN}&token=s3cret")) as socket:
        await socket.send("text")
    captured = capsys.readouterr()
    for secret in ("s3cret", "tw1lio", "wr0ng"):
        assert secret not in captured.out + captured.err


@pytest.mark.parametrize(
    "path", ["/v1/media/telnyx%0A", "/v1/media/telnyx%09", "/v1/media/telnyx%3F", "/v1/media//telnyx"]
)
async def test_no_spelling_of_a_doors_path_passes_its_guard(serve: Serve, path: str) -> None:
    server = await serve(doors={"telnyx": {"token": "s3cret"}})
    with pytest.raises(InvalidStatus) as fault:
        await connect(ws_url(server, path))
    assert fault.value.response.status_code in (401, 403, 404)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/events", 426),
        ("GET", "/v1/events/", 426),
        ("POST", "/v1/media/twilio", 426),
        ("GET", "/v1/media/plain?call_id=c&leg=caller", 426),
        ("GET", "/v1/media/nowhere", 404),
        ("GET", "/nowhere", 404),
        ("GET", "/v1/calls/nobody", 404),
        ("POST", "/v1/calls", 405),
        ("PUT", "/v1/whip/c/caller", 405),
        ("POST", "/v1/whip/c/caller", 415),
        ("PATCH", "/v1/whip/c/caller/sessions/x", 404),
    ],
)
async def test_every_refusal_is_problem_details(serve: Serve, method: str, path: str, status: int) -> None:
    server = await serve()
    async with httpx.AsyncClient(base_url=server.url) as web:
        answer = await web.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert (problem["status"], problem.keys()) == (status, {"title", "status", "detail"})
    if status == 426:
        assert "is a websocket" in problem["detail"]
        assert answer.headers["upgrade"] == "websocket"


async def test_headers_without_end_are_not_read_to_the_end(serve: Serve) -> None:
    server = await serve()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
    with contextlib.suppress(ConnectionError):
        for number in range(100):
            writer.write(b"X-%d: " % number + b"a" * 10_000 + b"\r\n")
            await writer.drain()
    with contextlib.suppress(ConnectionError):
        assert (await reader.readline()).startswith(b"HTTP/1.1 400")
    writer.close()
    async with httpx.AsyncClient(base_url=server.url) as web:
        assert (await web.get("/healthz")).status_code == 200
