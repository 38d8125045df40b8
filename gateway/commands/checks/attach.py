"""Checks of the attach points: ports, websocket endpoints, AudioSocket, WebRTC, sound devices.  [IO]"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterator

from aioice.ice import get_host_addresses
from aiortc.rtcicetransport import parse_stun_turn_uri

from gateway.client.capture import CaptureError, list_devices
from gateway.commands.checks.finding import Finding
from gateway.config import Settings, is_loopback
from gateway.errors import ConfigError
from gateway.ingest.doors import Door
from gateway.ingest.kinds import kind_of
from gateway.ingest.rtp.settings import split_address


def ports(settings: Settings) -> Iterator[Finding]:
    """Bind every address that the gateway would listen on."""
    tcp, udp = socket.SOCK_STREAM, socket.SOCK_DGRAM
    wanted = [("port", tcp, settings.host, settings.port)]
    wanted += [(f"rtp.{name}.listen", udp, *split_address("listen", rtp.listen)) for name, rtp in settings.rtp.items()]
    if settings.audiosocket:
        wanted.append(("audiosocket.listen", tcp, *split_address("listen", settings.audiosocket.listen)))
    for transport, kind in (("udp", udp), ("tcp", tcp), ("tls", tcp)):
        if settings.sip and (address := getattr(settings.sip, transport)):
            wanted.append((f"sip.{transport}", kind, *split_address(transport, address)))
    for field, kind, host, port in wanted:
        where = f"{host} {port} {'TCP' if kind == tcp else 'UDP'}"
        try:
            _bind(kind, host, port)
        except OSError as error:
            yield Finding(field, "error", f"{where}: {error.strerror} (a gateway may be running already)")
        else:
            yield Finding(field, "ok", f"{where} is free")


def doors(settings: Settings) -> Iterator[Finding]:
    """Check each websocket endpoint's dialect, and how endpoints authenticate their peers."""
    for name, door in settings.media_doors().items():
        try:
            kind_of(name, door)
        except ConfigError as error:
            yield Finding(f"doors.{name}", "error", str(error))
            continue
        yield _authentication(f"doors.{name}", f"/v1/media/{name}", door, settings)
    yield _authentication("whip", "/v1/whip", settings.whip_door(), settings)


def audiosocket(settings: Settings) -> Iterator[Finding]:
    """Check that a connection can be accepted."""
    if settings.audiosocket and not (settings.audiosocket.uuids or settings.audiosocket.secret):
        yield Finding("audiosocket", "error", "expected `uuids` or `secret`: without them every connection is refused")


def webrtc(settings: Settings) -> Iterator[Finding]:
    """Parse the ICE servers, and check which addresses browsers can reach."""
    for url in settings.ice_servers:
        try:
            parse_stun_turn_uri(url)
        except ValueError as error:
            yield Finding("ice_servers", "error", f"{url}: {error}")
    addresses = [ipaddress.ip_address(address) for address in get_host_addresses(use_ipv4=True, use_ipv6=True)]
    if not addresses and not is_loopback(settings.host):
        yield Finding("webrtc", "error", "no interface has an address that a browser could send to")
    elif addresses and not any(address.is_global for address in addresses) and settings.public_url:
        shown = ", ".join(map(str, addresses))
        yield Finding("webrtc", "warning", f"{shown}: private; browsers outside need a TURN server in `ice_servers`")
    else:
        yield Finding("webrtc", "ok", f"takes media on {', '.join(map(str, addresses)) or 'loopback'}")


def sound_devices(_settings: Settings) -> Iterator[Finding]:
    """List the sound devices."""
    try:
        names = [device.name for device in asyncio.run(list_devices())]
    except CaptureError as error:
        yield Finding("sound", "note", f"`callscreen attach` cannot listen here: {error}")
    else:
        yield Finding("sound", "note", f"`callscreen attach` can listen to {', '.join(names) or 'nothing'}")


def _bind(kind: socket.SocketKind, host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as probe:
        if (
            kind == socket.SOCK_STREAM
        ):  # as asyncio's servers do; otherwise connections in TIME_WAIT make the port look taken
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


def _authentication(what: str, path: str, door: Door, settings: Settings) -> Finding:
    """Return how an endpoint authenticates its peers."""
    checks = [field for field in ("token", "signing_key", "allow_ips") if getattr(door, field)]
    if wanted := ", ".join(checks) or ("the gateway's token" if settings.has_token else ""):
        return Finding(what, "ok", f"{path} asks for {wanted}")
    return Finding(what, "ok" if is_loopback(settings.host) else "warning", f"{path} asks for nothing")
