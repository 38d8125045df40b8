"""What a SIP call, its legs and its speakers are called.  [S]

Nothing is guessed: a role comes from the peer's header, from the dialled user part, from what the metadata says
outright, or from the operator's settings; else it is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase

from gateway.ingest import names
from gateway.ingest.events import CallId, LegId, Role
from gateway.ingest.sip.message import Heard
from gateway.ingest.sip.recording import Participant
from gateway.ingest.sip.settings import SipSettings

_STRANGE = re.compile(r"[^A-Za-z0-9._:@+-]")


def is_recording(heard: Heard) -> bool:
    """Whether a recorder is meant (RFC 7866 section 6.1.1); some say it in one place only."""
    headers = heard.request.headers
    said = "siprec" in (name.lower() for name in heard.request.require) or "+sip.src" in (headers.get("Contact") or "")
    return said or "rs-metadata" in heard.request.body.decode("utf-8", "replace").lower()


def call_id(heard: Heard, sip: SipSettings) -> CallId:
    """Name the call: by header, by dialled user part, else by Call-ID. Raises ProtocolError naming the header."""
    if (named := heard.request.headers.get(sip.call_id_header)) is not None:
        return names.call_id(sip.call_id_header, named)
    if dialled := _dialled(heard, sip).get("call_id"):
        return names.call_id("user part", dialled)
    return names.call_id("Call-ID", _STRANGE.sub("-", heard.call_id).lstrip("._:@+-")[:128] or "call")


def tenant(heard: Heard, sip: SipSettings) -> str | None:
    """Say whose call it is. Raises ProtocolError naming the header."""
    said = heard.request.headers.get(sip.tenant_header)
    return sip.tenant or (names.call_id(sip.tenant_header, said) if said is not None else None)


def plain_leg(heard: Heard, sip: SipSettings, roles: Mapping[str, str]) -> tuple[LegId, Role]:
    """Name the one leg of a plain call and its role. Raises ProtocolError naming the header."""
    headers, dialled = heard.request.headers, _dialled(heard, sip)
    leg = names.leg_id(sip.leg_header, headers.get(sip.leg_header) or dialled.get("leg") or "party")
    said = headers.get(sip.role_header) or dialled.get("role")
    return leg, names.role(leg, {"role": said} if said else {}, roles)


def recorded_leg(
    label: str | None, index: int, speaker: Participant | None, sip: SipSettings, roles: Mapping[str, str]
) -> tuple[LegId, Role]:
    """Name a recorded stream by its label, not by its speaker, whose number is nobody's business.

    Raises:
        ProtocolError: the label is no name.
    """
    leg = names.leg_id("label", label or f"stream-{index + 1}")
    if speaker is not None and speaker.aor:
        for pattern, role in sip.participants.items():
            if fnmatchcase(speaker.aor.lower(), pattern.lower()):
                return leg, role
    if leg not in roles and speaker is not None and speaker.is_caller is not None:
        return leg, "caller" if speaker.is_caller else "callee"
    return leg, names.role(leg, {}, roles)


def _dialled(heard: Heard, sip: SipSettings) -> dict[str, str]:
    found = re.fullmatch(sip.user_pattern, heard.request.uri.user or "")
    return {name: value for name, value in found.groupdict().items() if value} if found else {}
