"""The dialects of websocket endpoints: how to create their parser, and how their peers authenticate.  [S]"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.errors import ConfigError, Unauthorized
from gateway.ingest import jwt_signature
from gateway.ingest.dialects import plivo
from gateway.ingest.dialects.announced import Announced, FreeSwitch, Jambonz, Vonage
from gateway.ingest.dialects.asterisk_websocket import AsteriskWebsocket
from gateway.ingest.dialects.bandwidth import Bandwidth
from gateway.ingest.dialects.base import Dialect, Handshake
from gateway.ingest.dialects.exotel import Exotel
from gateway.ingest.dialects.genesys import SIGNED, AudioHook
from gateway.ingest.dialects.livekit import LiveKit
from gateway.ingest.dialects.plain import Plain
from gateway.ingest.dialects.signalwire import SignalWire
from gateway.ingest.dialects.telnyx import Telnyx
from gateway.ingest.dialects.tracks import TrackDialect
from gateway.ingest.dialects.twilio import Twilio, signature_matches
from gateway.ingest.doors import Door
from gateway.ingest.http_signature import check


@dataclass(frozen=True, slots=True)
class DialectKind:
    """The registration of a dialect."""

    open: Callable[[Handshake, Door], Dialect]
    """Creates the parser. Raises RequestError if the handshake is invalid."""
    authorised: Callable[[Handshake, str], None] | None = None
    """Checks the vendor's signature against the endpoint's `signing_key`. Raises Unauthorized."""
    token_header: str | None = None
    """Header in which the vendor sends a token, in lower case."""
    signs_as_bearer: bool = False
    """Whether the signature is sent in place of a bearer token, so that only one of them is possible."""

    def check(self, handshake: Handshake, door: Door) -> None:
        """Apply all checks of the endpoint. Raises Forbidden, Unauthorized."""
        door.check_token_and_address(handshake, self.token_header)
        if door.signing_key is not None:
            assert self.authorised is not None, "checked by kind_of"
            self.authorised(handshake, door.signing_key.get_secret_value())


def _signed_by_twilio(handshake: Handshake, auth_token: str) -> None:
    signature = handshake.headers.get("x-twilio-signature", "")
    if not signature_matches(auth_token, [handshake.url], signature):
        raise Unauthorized("X-Twilio-Signature: expected that of this URL with our auth token")


def _signed_by_plivo(handshake: Handshake, auth_token: str) -> None:
    signatures = handshake.headers.get("x-plivo-signature-v3", "")
    nonce = handshake.headers.get("x-plivo-signature-v3-nonce", "")
    if not plivo.signature_matches(auth_token, handshake.url, nonce, signatures):
        raise Unauthorized("X-Plivo-Signature-V3: expected that of this URL with our auth token")


def _signed_by_genesys(handshake: Handshake, client_secret: str) -> None:
    check(handshake, handshake.headers.get("x-api-key", ""), client_secret, SIGNED)


def _tracks(dialect: type[TrackDialect]) -> Callable[[Handshake, Door], Dialect]:
    return lambda _handshake, door: dialect(door.roles)


def _announced(dialect: type[Announced]) -> Callable[[Handshake, Door], Dialect]:
    return lambda handshake, door: dialect(handshake, dict(door.roles), swap_channels=door.swap_channels)


KINDS: dict[str, DialectKind] = {
    "asterisk": DialectKind(lambda handshake, door: AsteriskWebsocket(handshake, door.roles)),
    "bandwidth": DialectKind(_tracks(Bandwidth)),
    "exotel": DialectKind(_tracks(Exotel)),
    "freeswitch": DialectKind(_announced(FreeSwitch)),
    "genesys": DialectKind(
        lambda handshake, door: AudioHook(handshake, door.roles),
        _signed_by_genesys,
        token_header="x-api-key",  # noqa: S106
    ),
    "jambonz": DialectKind(_announced(Jambonz)),
    "livekit": DialectKind(lambda handshake, door: LiveKit(handshake.query, door.roles)),
    "plain": DialectKind(lambda handshake, door: Plain(handshake.query, door.roles)),
    "plivo": DialectKind(_tracks(plivo.Plivo), _signed_by_plivo),
    "signalwire": DialectKind(_tracks(SignalWire)),
    "telnyx": DialectKind(_tracks(Telnyx), token_header="x-telnyx-streaming-auth-token"),  # noqa: S106  a header's name
    "twilio": DialectKind(_tracks(Twilio), _signed_by_twilio),
    "vonage": DialectKind(_announced(Vonage), jwt_signature.check, signs_as_bearer=True),
}


def kind_of(name: str, door: Door) -> DialectKind:
    """Return the dialect of an endpoint. Raises ConfigError if it is unknown, or does not support the configured
    checks."""
    dialect = door.dialect or name
    kind = KINDS.get(dialect)
    if kind is None:
        raise ConfigError(f"doors.{name}.dialect: expected one of {', '.join(sorted(KINDS))}, got {dialect!r:.40}")
    if door.signing_key is not None and kind.authorised is None:
        raise ConfigError(f"doors.{name}.signing_key: {dialect} has no signatures; expected `token` or `allow_ips`")
    if door.signing_key is not None and door.token is not None and kind.signs_as_bearer:
        raise ConfigError(f"doors.{name}.token: {dialect} signs as bearer; expected `signing_key` or `token` alone")
    return kind
