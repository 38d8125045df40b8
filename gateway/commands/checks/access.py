"""Checks of certificates, tokens and the public URL.  [IO]"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509

from gateway.auth.jwt_settings import JwtSettings
from gateway.auth.jwt_tokens import fetch_keys
from gateway.commands.checks.finding import Finding, State
from gateway.config import Settings, is_loopback
from gateway.errors import ConfigError
from gateway.http.host import tls_context

SHORT_TOKEN = 16
"""Characters; shorter ones can be guessed."""
EXPIRES_SOON = timedelta(days=14)


def tls(settings: Settings) -> Iterator[Finding]:
    """Load the certificates and keys, and check when they expire."""
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


def access(settings: Settings) -> Iterator[Finding]:
    """Check the tokens, the issuer of JSON Web Tokens and the public URL."""
    local = is_loopback(settings.host)
    for scoped in settings.tokens:
        expired = scoped.expires is not None and scoped.expires <= datetime.now(UTC)
        detail = "expired" if expired else f"good for {', '.join(scoped.scopes)}"
        yield Finding(f"tokens: {scoped.name}", "warning" if expired else "ok", detail)
    if settings.jwt is not None:
        yield _issuer(settings.jwt)
    if not settings.has_token:
        detail = "none; only this machine can connect" if local else "none; whoever reaches this port can connect"
        yield Finding("token", "ok" if local else "warning", detail)
    elif settings.token is not None:
        token = settings.token.get_secret_value()
        if len(token) < SHORT_TOKEN:
            yield Finding(
                "token", "warning", f"shorter than {SHORT_TOKEN} characters; `openssl rand -hex 24` makes one"
            )
        elif not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", token):  # RFC 6455 section 4.1, RFC 9110 section 5.6.2
            yield Finding(
                "token", "warning", "contains characters that browsers cannot send; `openssl rand -hex 24` makes one"
            )
        else:
            yield Finding("token", "ok", "set")
    if settings.public_url is None:
        detail = "none; vendors sign this URL, and browsers elsewhere can use the pages only under it"
        yield Finding("public_url", "note" if local else "warning", detail)
    elif urlsplit(settings.public_url).scheme != "https":
        detail = f"{settings.public_url}: not https; browsers deny the microphone, and Twilio streams to wss only"
        yield Finding("public_url", "warning", detail)
    else:
        yield Finding("public_url", "ok", settings.public_url)


def _validity(setting: str, file: Path) -> Finding:
    """Return until when a certificate is valid. Raises OSError, ValueError."""
    ends, now = x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc, datetime.now(UTC)
    state: State = "error" if ends < now else "warning" if ends - now < EXPIRES_SOON else "ok"
    return Finding(setting, state, f"{file}: valid until {ends:%Y-%m-%d}")


def _issuer(trusted: JwtSettings) -> Finding:
    if trusted.jwks_file is None:
        return Finding("jwt", "note", f"keys are fetched from {trusted.jwks_url} on demand")
    try:
        keys = fetch_keys(trusted)
    except (OSError, ValueError) as error:
        return Finding("jwt.jwks_file", "error", f"{trusted.jwks_file}: {error}")
    return Finding("jwt.jwks_file", "ok", f"{len(keys.keys() - {None})} key(s) of {trusted.issuer}")
