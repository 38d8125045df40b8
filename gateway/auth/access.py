"""Who came in over HTTP: what they may do, and whose calls they may see.  [S]

Every request and every upgrade that is let in has one `Access`. A route asks for it with `access_of(request.scope)`,
and shows nothing for which `sees` is false.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, Literal

from gateway import paths
from gateway.errors import Forbidden

Scope = Literal["ingest", "subscribe", "evidence", "admin"]
_KEY = "callscreen.access"


@dataclass(frozen=True, slots=True)
class Access:
    """What one token, or whoever needs none, may do."""

    name: str | None
    """Of the token, for logs; None where none was needed."""
    scopes: frozenset[Scope]
    """``admin`` includes the others, unless the token is a tenant's."""
    tenant: str | None = None
    """Whose calls it may send and see; None: everybody's."""
    expires_s: float | None = None
    """From when on it is no longer good, in seconds since 1970."""

    def allows(self, scope: Scope) -> bool:
        """Whether it may use what needs `scope`."""
        return scope in self.scopes or ("admin" in self.scopes and self.tenant is None)

    def require(self, scope: Scope) -> None:
        """Raise Forbidden unless `allows(scope)`."""
        if not self.allows(scope):
            raise Forbidden(f"token: {self.name!r} does not have the scope {scope!r}")

    def sees(self, tenant: str | None) -> bool:
        """Whether calls and events of `tenant` (None: of nobody in particular) may be shown to it."""
        return self.tenant is None or self.tenant == tenant


EVERYTHING = Access(None, frozenset({"admin"}))
NOTHING = Access(None, frozenset())


@dataclass(frozen=True, slots=True)
class Rule:
    """What a part of the API needs."""

    path: str
    """Where it ends in a slash, all below it; else itself alone, with or without a slash at its end."""
    scope: Scope | Literal["public"]
    """``public``: nothing needs to be presented."""
    what: str
    """For the documentation."""

    def covers(self, path: str) -> bool:
        """Whether it is about `path`."""
        return path.startswith(self.path) if self.path.endswith("/") else path.rstrip("/") == self.path


RULES = (
    Rule(paths.MEDIA, "ingest", "media of one stream; an endpoint with checks of its own needs those instead"),
    Rule(paths.WHIP, "ingest", "WebRTC sessions; likewise"),
    Rule(paths.EVENTS, "subscribe", "live events"),
    Rule(paths.CALLS, "subscribe", "list of calls"),
    Rule(paths.CALLS + "/", "subscribe", "one call"),
    Rule(paths.ALERTS + "/", "subscribe", "feedback on an alert"),
    Rule(paths.EVIDENCE + "/", "evidence", "encrypted audio around alerts: list, fetch, delete"),
    Rule(paths.WEBHOOKS + "/", "admin", "webhooks: dead list, replay, test"),
    Rule("/healthz", "public", "whether the process answers"),
    Rule("/readyz", "public", "whether calls may be sent here"),
    Rule(paths.ASYNCAPI, "public", "what the events look like"),
    Rule(paths.OPENAPI, "public", "what HTTP answers look like"),
    Rule(paths.SCHEMAS, "public", "where the schema of each event is"),
    Rule(paths.SCHEMAS + "/", "public", "the schema of one type of event"),
    Rule("/metrics", "admin", "Prometheus metrics, of all tenants"),
)
"""Which part of the API needs which scope; the first rule that covers a path holds, and `admin` is needed without one.

The pages' files are public besides (`gateway.pages.FILES`).
"""


def needed(path: str) -> Scope | Literal["public"]:
    """Return what a path needs."""
    return next((rule.scope for rule in RULES if rule.covers(path)), "admin")


def grant(scope: MutableMapping[str, Any], access: Access) -> None:
    """Note in an ASGI scope who it is that came in."""
    scope[_KEY] = access


def who(scope: MutableMapping[str, Any]) -> Access | None:
    """Return who it is that came, or was refused for the lack of a scope; None where nobody could tell."""
    known: Access | None = scope.get(_KEY)
    return known


def access_of(scope: MutableMapping[str, Any]) -> Access:
    """Return who it is that came in. Raises KeyError where nobody checked, which is a fault of ours."""
    access: Access = scope[_KEY]
    return access
