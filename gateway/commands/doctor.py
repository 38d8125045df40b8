"""`callscreen doctor`: looks at a configuration before it is served, and names what is missing.  [IO]

Opens what a gateway would open, and closes it again; nothing is changed, and no other machine is asked anything but the
OTLP endpoint, which is sent an empty export.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from aioice.ice import get_host_addresses
from aiortc.rtcicetransport import parse_stun_turn_uri
from cryptography import x509
from jwt import PyJWTError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from detection import DEFAULT_MODEL, open_detector, open_fusion
from detection.decision.coverage import step_s
from detection.detector import CardDetector
from detection.errors import DetectionError
from detection.signing import check_model, read_verify_key
from gateway import policy
from gateway.alerts.journal import Journal
from gateway.auth.jwt_settings import JwtSettings
from gateway.auth.jwt_tokens import fetch_keys
from gateway.call.thresholds import threshold
from gateway.call.verification import AUTO, OFF, seconds_a_window, verifier_name
from gateway.client.capture import CaptureError, list_devices
from gateway.commands.findings import Finding, State, clock, disk, otlp
from gateway.config import Settings, is_loopback, load
from gateway.engine import models
from gateway.errors import ConfigError
from gateway.http.host import tls_context
from gateway.ingest.doors import Door
from gateway.ingest.kinds import kind_of
from gateway.ingest.rtp.settings import split_address

SHORT_TOKEN = 16
"""Characters; shorter ones can be guessed."""
EXPIRES_SOON = timedelta(days=14)
STYLES = {"ok": "green", "note": "dim", "warning": "yellow", "error": "bold red"}


def run(config: Path | None, as_json: bool) -> int:
    """Check and show; returns the exit code."""
    findings = examine(config)
    console = Console(highlight=False)
    if as_json:
        console.out(json.dumps([asdict(finding) for finding in findings], indent=2), highlight=False)
    else:
        table = Table("check", "", "what was found", box=None, header_style="bold")
        for finding in findings:
            table.add_row(finding.check, Text(finding.state, STYLES[finding.state]), finding.detail)
        console.print(table)
    return int(any(finding.state == "error" for finding in findings))


def examine(config: Path | None) -> list[Finding]:
    """Return what every check found, in a fixed order; where the settings cannot be read, only that."""
    try:
        settings = load(config)
    except ConfigError as error:
        return [Finding("settings", "error", line) for line in str(error).splitlines()]
    read = Finding("settings", "ok", f"read from {config or 'the environment'}")
    return [read, *(finding for check in CHECKS for finding in check(settings))]


def _model(settings: Settings) -> Iterator[Finding]:
    try:
        detector = open_detector(settings.model or DEFAULT_MODEL)
    except DetectionError as error:
        yield Finding("model", "error", str(error))
    else:
        yield Finding("model", "ok", f"{detector.name}: file and card belong together")
        if settings.alerts_per_hour is not None:
            yield _threshold(settings, detector)


def _signatures(settings: Settings) -> Iterator[Finding]:
    if settings.verify_key is None:
        return
    try:
        key = read_verify_key(settings.verify_key)
    except DetectionError as error:
        yield Finding("verify_key", "error", str(error))
        return
    for setting, name in models(settings):
        try:
            check_model(name, key)
        except DetectionError as error:
            yield Finding(f"signature: {setting}", "error", str(error))
        else:
            yield Finding(f"signature: {setting}", "ok", f"{name} was signed with the key of {settings.verify_key}")


def _threshold(settings: Settings, detector: CardDetector) -> Finding:
    name, fusion = verifier_name(settings.verifier, settings.verifier_cpu_share), None
    with suppress(DetectionError):  # what ails the verifier is a finding of its own
        fusion = open_fusion(detector, open_detector(name))[0] if name else None
    try:
        raise_p = threshold(settings, detector, fusion)
    except ConfigError as error:
        return Finding("alerts_per_hour", "error", str(error).removeprefix("alerts_per_hour: "))
    return Finding("alerts_per_hour", "ok", f"alerts are raised from probability {raise_p:g} on")


def _policy(settings: Settings) -> Iterator[Finding]:
    if settings.policy is None:
        return
    try:
        loaded = policy.read(settings.policy)
        loaded.policy.check_thresholds(settings.alert_p or 1.0, settings.clear_p or 0.5)
    except ConfigError as error:
        for line in str(error).splitlines():
            yield Finding("policy", "error", line)
    else:
        yield Finding("policy", "ok", f"{settings.policy}: {len(loaded.policy.rule)} rules, version {loaded.version}")


def _shadow(settings: Settings) -> Iterator[Finding]:
    if settings.shadow is None:
        return
    told = []
    try:
        if settings.shadow.model:
            told.append(open_detector(settings.shadow.model).name)
        if settings.shadow.policy:
            told.append(f"policy version {policy.read(settings.shadow.policy).version}")
    except (ConfigError, DetectionError) as error:
        yield Finding("shadow", "error", str(error))
    else:
        yield Finding("shadow", "ok", f"tries {' and '.join(told)}; it never raises an alert")


def _verifier(settings: Settings) -> Iterator[Finding]:
    share = settings.verifier_cpu_share
    name = verifier_name(settings.verifier, share)
    if name is None:
        off = "off" if settings.verifier == OFF or not share else "none is installed; name one, or the path of one"
        yield Finding("verifier", "note", f"{off}; legs are judged by the light model alone")
        return
    try:
        detector = open_detector(name)
    except DetectionError as error:
        yield Finding("verifier", "warning" if settings.verifier == AUTO else "error", str(error))
        return
    cost_s = seconds_a_window(detector)
    legs = share * step_s(detector.window_s, detector.hop_s) / cost_s
    yield Finding(
        "verifier",
        "ok" if legs >= 1 else "warning",
        f"{detector.name}: {1000 * cost_s:.0f} ms of CPU a window, so that `verifier_cpu_share` = {share:g} covers "
        f"{legs:.0f} legs here that speak without a pause; of more, the doubtful ones first",
    )
    yield from _fusion(settings, detector)


def _fusion(settings: Settings, verifier: CardDetector) -> Iterator[Finding]:
    """Tell how the models are fused; what ails the light one is a finding of its own."""
    try:
        light = open_detector(settings.model or DEFAULT_MODEL)
    except DetectionError:
        return
    try:
        _, plain = open_fusion(light, verifier)
    except DetectionError as error:
        yield Finding("fusion", "error", str(error))
    else:
        yield Finding("fusion", "note" if plain else "ok", plain or f"fitted for {light.name} and {verifier.name}")


def _journal(settings: Settings) -> Iterator[Finding]:
    folder = settings.journal.absolute().parent
    if settings.journal.exists():
        try:
            with closing(Journal(settings.journal, settings.journal_max_events)):
                yield Finding("journal", "ok", f"{settings.journal} can be written")
        except ConfigError as error:
            yield Finding("journal", "error", str(error))
    elif folder.is_dir() and os.access(folder, os.W_OK):
        yield Finding("journal", "ok", f"{settings.journal} will be made")
    else:
        yield Finding("journal", "error", f"{folder} is not there, or may not be written to")


def _ports(settings: Settings) -> Iterator[Finding]:
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


def _bind(kind: socket.SocketKind, host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as probe:
        if kind == socket.SOCK_STREAM:  # as servers do; else what is closing down would seem taken
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


def _tls(settings: Settings) -> Iterator[Finding]:
    if settings.tls_cert is not None:
        try:
            tls_context(settings)
            yield _validity("tls_cert", settings.tls_cert)
        except (OSError, ValueError, ConfigError) as error:
            yield Finding("tls_cert, tls_key", "error", str(error).removeprefix("tls_cert, tls_key: "))
    sip = settings.sip
    if sip is None or sip.tls is None or sip.tls_certificate is None:
        return
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sip.tls_certificate, sip.tls_key)
        if sip.tls_client_ca:
            context.load_verify_locations(sip.tls_client_ca)
        yield _validity("sip.tls_certificate", sip.tls_certificate)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        yield Finding("sip.tls_certificate, sip.tls_key, sip.tls_client_ca", "error", str(error))


def _validity(setting: str, file: Path) -> Finding:
    """Tell until when a certificate is good. Raises OSError, ValueError."""
    ends, now = x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc, datetime.now(UTC)
    state: State = "error" if ends < now else "warning" if ends - now < EXPIRES_SOON else "ok"
    return Finding(setting, state, f"{file}: good until {ends:%Y-%m-%d}")


def _nats(settings: Settings) -> Iterator[Finding]:
    nats = settings.nats
    if nats is None:
        return
    if find_spec("nats") is None:
        yield Finding("nats", "error", "its client is not installed: pip install 'callscreen[nats]'")
        return
    try:
        if nats.ca is not None:
            ssl.create_default_context(cafile=nats.ca)
        if nats.credentials is not None:
            nats.credentials.read_bytes()
    except OSError as error:  # ssl.SSLError is one
        yield Finding("nats.ca, nats.credentials", "error", str(error))
        return
    servers = [urlsplit(server) for server in nats.servers]
    if any(server.scheme != "tls" and not is_loopback(server.hostname or "") for server in servers):
        yield Finding("nats", "warning", "events may cross the network unencrypted: use tls://")
    else:
        yield Finding("nats", "ok", f"events will be forwarded to the stream {nats.stream}; the server was not asked")


def _access(settings: Settings) -> Iterator[Finding]:
    local = is_loopback(settings.host)
    for scoped in settings.tokens:
        ended = scoped.expires is not None and scoped.expires <= datetime.now(UTC)
        detail = "expired" if ended else f"good for {', '.join(scoped.scopes)}"
        yield Finding(f"tokens: {scoped.name}", "warning" if ended else "ok", detail)
    if settings.jwt is not None:
        yield _issuer(settings.jwt)
    if not settings.has_token:
        detail = "none; only this machine can come in" if local else "none; whoever reaches this port comes in"
        yield Finding("token", "ok" if local else "warning", detail)
    elif settings.token is not None:
        token = settings.token.get_secret_value()
        if len(token) < SHORT_TOKEN:
            yield Finding(
                "token", "warning", f"shorter than {SHORT_TOKEN} characters; `openssl rand -hex 24` makes one"
            )
        elif not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", token):  # RFC 6455 section 4.1, RFC 9110 section 5.6.2
            yield Finding(
                "token", "warning", "has characters that browsers cannot send; `openssl rand -hex 24` makes one"
            )
        else:
            yield Finding("token", "ok", "set")
    if settings.public_url is None:
        detail = "none; vendors sign this URL, and browsers elsewhere can use the pages only under it"
        yield Finding("public_url", "note" if local else "warning", detail)
    elif urlsplit(settings.public_url).scheme != "https":
        detail = f"{settings.public_url}: not https; browsers give no microphone, and Twilio streams to wss only"
        yield Finding("public_url", "warning", detail)
    else:
        yield Finding("public_url", "ok", settings.public_url)


def _issuer(trusted: JwtSettings) -> Finding:
    if trusted.jwks_file is None:
        return Finding("jwt", "note", f"keys are fetched from {trusted.jwks_url} when they are needed")
    try:
        keys = fetch_keys(trusted)
    except (OSError, ValueError, PyJWTError) as error:
        return Finding("jwt.jwks_file", "error", f"{trusted.jwks_file}: {error}")
    return Finding("jwt.jwks_file", "ok", f"{len(keys.keys() - {None})} key(s) of {trusted.issuer}")


def _webhooks(settings: Settings) -> Iterator[Finding]:
    for webhook in settings.webhooks:
        try:
            webhook.key()
        except ConfigError as error:
            yield Finding(f"webhooks: {webhook.name}", "error", str(error))
            continue
        where = "private addresses, too" if webhook.allow_private else "public addresses only"
        detail = f"{', '.join(webhook.events)}; {where}; `callscreen webhooks test {webhook.name}` tries it"
        yield Finding(f"webhooks: {webhook.name}", "ok", detail)


def _doors(settings: Settings) -> Iterator[Finding]:
    for name, door in settings.media_doors().items():
        try:
            kind_of(name, door)
        except ConfigError as error:
            yield Finding(f"doors.{name}", "error", str(error))
            continue
        yield _guards(f"doors.{name}", f"/v1/media/{name}", door, settings)
    yield _guards("whip", "/v1/whip", settings.whip_door(), settings)


def _guards(what: str, path: str, door: Door, settings: Settings) -> Finding:
    """Say what a door asks for."""
    checks = [field for field in ("token", "signing_key", "allow_ips") if getattr(door, field)]
    if guards := ", ".join(checks) or ("the gateway's token" if settings.has_token else ""):
        return Finding(what, "ok", f"{path} asks for {guards}")
    return Finding(what, "ok" if is_loopback(settings.host) else "warning", f"{path} asks for nothing")


def _audiosocket(settings: Settings) -> Iterator[Finding]:
    if settings.audiosocket and not (settings.audiosocket.uuids or settings.audiosocket.secret):
        yield Finding("audiosocket", "error", "neither `uuids` nor `secret`: no connection would be let in")


def _webrtc(settings: Settings) -> Iterator[Finding]:
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


def _devices(_settings: Settings) -> Iterator[Finding]:
    try:
        names = [device.name for device in asyncio.run(list_devices())]
    except CaptureError as error:
        yield Finding("sound", "note", f"`callscreen attach` cannot listen here: {error}")
    else:
        yield Finding("sound", "note", f"`callscreen attach` can listen to {', '.join(names) or 'nothing'}")


CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    _model,
    _signatures,
    _policy,
    _shadow,
    _verifier,
    _journal,
    disk,
    clock,
    otlp,
    _ports,
    _tls,
    _access,
    _webhooks,
    _nats,
    _doors,
    _audiosocket,
    _webrtc,
    _devices,
)
