"""What an HTTP client may do, and the calls of which tenant it may see.  [S]

Every accepted request and upgrade has an `Access`. A route reads it with `access_of(request.scope)`, and returns
nothing for which `sees` is false.
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
    """What a token allows."""

    name: str | None
    """The token's name, for logs; None if no token was needed."""
    scopes: frozenset[Scope]
    """``admin`` includes the others, unless the token belongs to a tenant."""
    tenant: str | None = None
    """Only calls of this tenant may be sent and seen; None: all calls."""
    expires_s: float | None = None
    """When the token expires, in seconds since 1970; None: never."""

    def allows(self, scope: Scope) -> bool:
        """Whether the scopes include `scope`."""
        return scope in self.scopes or ("admin" in self.scopes and self.tenant is None)

    def require(self, scope: Scope) -> None:
        """Raise Forbidden unless `allows(scope)`."""
        if not self.allows(scope):
            raise Forbidden(f"token: {self.name!r} does not have the scope {scope!r}")

    def sees(self, tenant: str | None) -> bool:
        """Whether calls and events of `tenant` (None: without a tenant) may be shown."""
        return self.tenant is None or self.tenant == tenant


EVERYTHING = Access(None, frozenset({"admin"}))
NOTHING = Access(None, frozenset())


@dataclass(frozen=True, slots=True)
class Rule:
    """The scope that a part of the API needs."""

    path: str
    """A path ending in a slash covers all paths below; any other covers itself, with or without a final slash."""
    scope: Scope | Literal["public"]
    """``public``: no token is needed."""
    what: str
    """For the documentation."""

    def covers(self, path: str) -> bool:
        """Whether the rule applies to `path`."""
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
    Rule(paths.ASYNCAPI, "public", "AsyncAPI document of the events"),
    Rule(paths.OPENAPI, "public", "OpenAPI document of the HTTP API"),
    Rule(paths.SCHEMAS, "public", "paths of the events' schemas"),
    Rule(paths.SCHEMAS + "/", "public", "the schema of one event type"),
    Rule("/metrics", "admin", "Prometheus metrics, of all tenants"),
)
"""The scope of each part of the API. The first rule that covers a path applies; without one, `admin` is needed.

The files of the dashboard are public, too (`gateway.pages.FILES`).
"""


def needed(path: str) -> Scope | Literal["public"]:
    """Return the scope that a path needs."""
    return next((rule.scope for rule in RULES if rule.covers(path)), "admin")


def grant(scope: MutableMapping[str, Any], access: Access) -> None:
    """Store the access in an ASGI scope."""
    scope[_KEY] = access


def who(scope: MutableMapping[str, Any]) -> Access | None:
    """Return the access of a request, also of one refused for lack of a scope; None if it is unknown."""
    known: Access | None = scope.get(_KEY)
    return known


def access_of(scope: MutableMapping[str, Any]) -> Access:
    """Return the access of a request. Raises KeyError if `Guard` did not check it, which is a bug."""
    access: Access = scope[_KEY]
    return access
