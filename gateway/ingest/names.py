"""Validates names of calls, legs and roles.  [S]"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast, get_args

from gateway.errors import ProtocolError
from gateway.ingest.events import CallId, LegId, Role

# Safe without quoting in a URL path, a log line and a metrics label; long enough for a UUID, a Twilio SID, a Call-ID.
PATTERN = "^[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}$"
_NAME = re.compile(PATTERN)
_ROLES: tuple[str, ...] = get_args(Role)


def call_id(field: str, value: str) -> CallId:
    """Check a call's id; white space around it is of no concern. Raises ProtocolError naming `field`."""
    return CallId(_checked(field, value))


def leg_id(field: str, value: str) -> LegId:
    """Check a leg's name, likewise. Raises ProtocolError naming `field`."""
    return LegId(_checked(field, value))


def role(leg: str, parameters: Mapping[str, str], configured: Mapping[str, str]) -> Role:
    """Say who a leg is: as the peer's parameter ``role_<leg>`` or ``role`` says, else as configured, else by its name.

    The parameter may be in any case, with white space around it; an empty one says nothing.

    Raises:
        ProtocolError: the parameter is not a role.
    """
    for field in (f"role_{leg}", "role"):
        if value := parameters.get(field, "").strip().lower():
            if value not in _ROLES:
                raise ProtocolError(f"{field}: expected one of {', '.join(_ROLES)}, got {value!r:.40}")
            return cast("Role", value)
    known = configured.get(leg, leg)
    return cast("Role", known) if known in _ROLES else "unknown"


def _checked(field: str, value: str) -> str:
    name = value.strip()
    if not _NAME.fullmatch(name):
        raise ProtocolError(
            f"{field}: expected 1 to 128 letters, digits or . _ : @ + - (starting with a letter or digit), "
            f"got {value!r:.40}"
        )
    return name
