"""Determines the names of a SIP call and its legs, and the roles.  [S]

Nothing is guessed: a role comes from the peer's header, the dialled user part, the metadata or the settings; otherwise
it is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase

from gateway.ingest import names
from gateway.ingest.events import CallId, LegId, Role
from gateway.ingest.sip.message import ParsedRequest
from gateway.ingest.sip.recording import Participant
from gateway.ingest.sip.settings import SipSettings

_INVALID = re.compile(r"[^A-Za-z0-9._:@+-]")


def is_recording(request: ParsedRequest) -> bool:
    """Whether the peer is a recording client (RFC 7866 section 6.1.1); some peers signal it in one place only."""
    headers = request.message.headers
    is_signalled = "siprec" in (name.lower() for name in request.message.require) or "+sip.src" in (
        headers.get("Contact") or ""
    )
    return is_signalled or "rs-metadata" in request.message.body.decode("utf-8", "replace").lower()


def call_id(request: ParsedRequest, sip: SipSettings) -> CallId:
    """Return the call's id: from the header, the dialled user part, or Call-ID. Raises ProtocolError naming the
    header."""
    if (named := request.message.headers.get(sip.call_id_header)) is not None:
        return names.call_id(sip.call_id_header, named)
    if dialled := _dialled(request, sip).get("call_id"):
        return names.call_id("user part", dialled)
    return names.call_id("Call-ID", _INVALID.sub("-", request.call_id).lstrip("._:@+-")[:128] or "call")


def tenant(request: ParsedRequest, sip: SipSettings) -> str | None:
    """Return the tenant. Raises ProtocolError naming the header."""
    named = request.message.headers.get(sip.tenant_header)
    return sip.tenant or (names.call_id(sip.tenant_header, named) if named is not None else None)


def plain_leg(request: ParsedRequest, sip: SipSettings, roles: Mapping[str, str]) -> tuple[LegId, Role]:
    """Return leg and role of a plain call. Raises ProtocolError naming the header."""
    headers, dialled = request.message.headers, _dialled(request, sip)
    leg = names.leg_id(sip.leg_header, headers.get(sip.leg_header) or dialled.get("leg") or "party")
    role = headers.get(sip.role_header) or dialled.get("role")
    return leg, names.role(leg, {"role": role} if role else {}, roles)


def recorded_leg(
    label: str | None, index: int, speaker: Participant | None, sip: SipSettings, roles: Mapping[str, str]
) -> tuple[LegId, Role]:
    """Return leg and role of a recorded stream. The leg is named by its label, since the speaker's number is personal
    data.

    Raises:
        ProtocolError: the label is not a valid name.
    """
    leg = names.leg_id("label", label or f"stream-{index + 1}")
    if speaker is not None and speaker.aor:
        for pattern, role in sip.participants.items():
            if fnmatchcase(speaker.aor.lower(), pattern.lower()):
                return leg, role
    if leg not in roles and speaker is not None and speaker.is_caller is not None:
        return leg, "caller" if speaker.is_caller else "callee"
    return leg, names.role(leg, {}, roles)


def _dialled(request: ParsedRequest, sip: SipSettings) -> dict[str, str]:
    found = re.fullmatch(sip.user_pattern, request.message.uri.user or "")
    return {name: value for name, value in found.groupdict().items() if value} if found else {}
