"""What each part of the API needs, and that no route is without a rule."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute

from gateway import pages
from gateway.auth.access import EVERYTHING, NOTHING, RULES, Access, needed
from gateway.errors import Forbidden
from tests.gateway.conftest import Serve


@pytest.mark.parametrize(
    ("path", "need"),
    [
        ("/v1/media/twilio", "ingest"),
        ("/v1/whip/c/leg/session", "ingest"),
        ("/v1/events/", "subscribe"),
        ("/v1/calls/c-1", "subscribe"),
        ("/healthz", "public"),
        ("/metrics", "admin"),
        # What no rule covers needs the most, whatever it looks like.
        ("/v1/callsigns", "admin"),
        ("/v1/eventsx", "admin"),
        ("/v1/media", "admin"),
        ("/healthz/x", "admin"),
        ("//healthz", "admin"),
        ("", "admin"),
    ],
)
def test_a_path_needs_the_scope_of_its_rule_or_admin(path: str, need: str) -> None:
    assert needed(path) == need


@pytest.mark.usefixtures("detector")
async def test_every_route_of_the_gateway_has_a_rule(serve: Serve) -> None:
    server = await serve()
    assert isinstance(server.app, Starlette)
    routes = [route for route in server.app.routes if isinstance(route, Route | WebSocketRoute)]
    assert len(routes) > 10
    unruled = {route.path for route in routes if not any(rule.covers(route.path) for rule in RULES)}
    assert unruled - pages.FILES.keys() == set()


def test_admin_includes_the_others_unless_it_is_a_tenants() -> None:
    assert EVERYTHING.allows("ingest")
    assert not NOTHING.allows("ingest")
    theirs = Access("x", frozenset({"admin", "subscribe"}), "blue")
    assert [theirs.allows(scope) for scope in ("ingest", "subscribe")] == [False, True]
    with pytest.raises(Forbidden, match="'x' does not have the scope 'ingest'"):
        theirs.require("ingest")


def test_a_tenant_sees_its_own_calls_and_a_token_without_one_sees_all() -> None:
    theirs = Access("x", frozenset({"subscribe"}), "blue")
    assert [theirs.sees(tenant) for tenant in ("blue", "red", None, "")] == [True, False, False, False]
    assert EVERYTHING.sees("blue")
    assert EVERYTHING.sees(None)
