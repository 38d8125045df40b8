"""SIP over TLS with client certificates, and media as SRTP with its keys in the offer."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import ssl
from pathlib import Path

import pylibsrtp
import pytest

from gateway.errors import ConfigError
from gateway.ingest.sip import transport
from tests.gateway.conftest import Serve
from tests.gateway.ingest.sip.certificates import authority, issue
from tests.gateway.ingest.sip.phone import PCMU_SDP, Phone, phone
from tests.gateway.loudness import speech
from tests.gateway.rtp import pcmu, send
from tests.gateway.wire import subscribed

pytestmark = pytest.mark.usefixtures("detector")

KEY = bytes(range(30))
CRYPTO = f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{base64.b64encode(KEY).decode()}\n"
SECURE_SDP = PCMU_SDP.replace("RTP/AVP", "RTP/SAVP") + CRYPTO


async def greet(address: tuple[str, int], context: ssl.SSLContext) -> None:
    """Connect and wait for an answer."""
    reader, writer = await asyncio.open_connection(*address, ssl=context)
    try:
        writer.write(Phone("TLS").request("OPTIONS"))
        await reader.readexactly(1)
    finally:
        writer.close()


async def test_tls_with_client_certificates_and_srtp(serve: Serve, tmp_path: Path) -> None:
    ca = authority(tmp_path)
    files = {"tls_certificate": issue(ca, "gateway"), "tls_key": tmp_path / "gateway.key", "tls_client_ca": ca}
    gateway = await serve(sip={"tls": "127.0.0.1:0", "rtp_ports": (30_300, 30_399), **files})
    context = ssl.create_default_context(cafile=str(ca))
    with pytest.raises((OSError, asyncio.IncompleteReadError)):
        await greet(gateway.sip["tls"], context)
    context.load_cert_chain(issue(ca, "pbx"), tmp_path / "pbx.key")
    await greet(gateway.sip["tls"], context)
    srtp = pylibsrtp.Session(pylibsrtp.Policy(KEY, pylibsrtp.Policy.SSRC_ANY_OUTBOUND))
    async with subscribed(gateway) as events, phone(gateway.sip["tls"], "TLS", ssl=context) as caller:
        reply = await caller.call(SECURE_SDP, user="c1-caller")
        assert reply.headers["contact"].startswith("<sips:")
        assert "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" in reply.body
        packets = (srtp.protect(data) for data in pcmu(speech(8, synthetic=True)))
        await send(("127.0.0.1", reply.ports[0]), packets)
        await events.until("alert.raised", leg="caller")


async def test_a_stalled_handshake_is_closed(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "SILENT_S", 0.5)
    ca = authority(tmp_path)
    files = {"tls_certificate": issue(ca, "gateway"), "tls_key": tmp_path / "gateway.key"}
    gateway = await serve(sip={"tls": "127.0.0.1:0", **files})
    hello = client_hello()
    async with contextlib.AsyncExitStack() as stack, asyncio.timeout(10):
        stalled = []
        for said in (b"", hello[:5], hello[:-1], hello):
            reader, writer = await asyncio.open_connection(*gateway.sip["tls"])
            stack.callback(writer.close)
            writer.write(said)
            stalled.append(reader)
        await greet(gateway.sip["tls"], ssl.create_default_context(cafile=str(ca)))  # nobody waits for them
        for reader in stalled:
            with contextlib.suppress(ConnectionError):
                await reader.read()  # to its end; the last one gets the server's part of the handshake


def client_hello() -> bytes:
    """Return what a TLS client says first."""
    said, heard = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(heard, said, server_hostname="gateway")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return said.read()


async def test_srtp_without_a_key_we_can_use_is_refused(serve: Serve) -> None:
    gateway = await serve(sip={"udp": "127.0.0.1:0"})
    async with phone(gateway.sip["udp"]) as caller:
        assert (await caller.ask("INVITE", PCMU_SDP.replace("RTP/AVP", "RTP/SAVP"))).code == 488


@pytest.mark.parametrize(
    ("sip", "complaint"),
    [
        ({}, "at least one address"),
        ({"udp": "0.0.0.0:5060"}, "`allow_ips` or `users` must be set"),
        ({"tls": "127.0.0.1:5061"}, "tls_certificate and tls_key must be set"),
        ({"udp": "127.0.0.1:0", "rtp_ports": (5, 1)}, "rtp_ports"),
        ({"udp": "127.0.0.1:0", "user_pattern": "("}, "regular expression"),
        ({"udp": "127.0.0.1:0", "user_pattern": "(?P<x>.)"}, "groups named call_id, leg, role"),
        ({"udp": "192.0.2.77:5060", "allow_ips": ["192.0.2.0/24"]}, r"sip\.udp: cannot listen"),
    ],
)
async def test_inconsistent_settings_are_refused(serve: Serve, sip: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        await serve(sip=sip)


async def test_a_start_that_fails_gives_back_what_it_took(serve: Serve) -> None:
    taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taken.bind(("127.0.0.1", 0))
    free = taken.getsockname()[1]
    taken.close()
    rtp = {"in": {"listen": f"127.0.0.1:{free}", "legs": {"a": {}}}}
    with pytest.raises(ConfigError, match=r"sip\.udp"):
        await serve(rtp=rtp, sip={"udp": "192.0.2.77:5060", "allow_ips": ["192.0.2.0/24"]})
    await asyncio.sleep(0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(("127.0.0.1", free))
