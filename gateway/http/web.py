"""The HTTP port: routes, authorisation, health, metrics.  [IO]

    WS      /v1/media/{door}            one per entry of `doors`; `twilio` and `plain` always exist
    POST    /v1/whip/{call_id}/{leg}    WebRTC (RFC 9725)
    WS      /v1/events                  CloudEvents
    GET     /v1/calls…                  calls, live and ended; see `gateway.http.calls`
    GET     /healthz /readyz /metrics
    GET     /asyncapi.json /openapi.json /v1/schemas[/{type}]   the contract
    GET     / /call                     the dashboard

Default deny: everything except health, contract and pages needs a bearer token with the right scope, if a token is set
(an endpoint with checks of its own needs those instead), and cross-origin requests need an allowed origin. A path may
end in a slash. A refusal is explained in the response body and in the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest
from starlette.applications import Starlette
from starlette.datastructures import URL
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from gateway import clock, logs, pages, paths, refusals
from gateway.alerts.bus import Bus
from gateway.alerts.subscribers import SharedEvents, serve_events
from gateway.auth import access, tokens
from gateway.auth.access import EVERYTHING, NOTHING, Access, access_of, grant, needed
from gateway.auth.jwt_tokens import Issuer
from gateway.call.registry import Registry
from gateway.config import Settings, is_loopback
from gateway.contract import documents as contract
from gateway.errors import CallscreenError, Forbidden, NotFound, RequestError, TooManyRequests, UpgradeRequired
from gateway.http.evidence import Audit
from gateway.ingest.dialects.base import Handshake
from gateway.ingest.doors import Door, presented_token
from gateway.ingest.events import Calls
from gateway.ingest.kinds import DialectKind, kind_of
from gateway.ingest.websocket import serve_media
from gateway.pace import messages
from gateway.sources import Sources

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
INGEST: frozenset[access.Scope] = frozenset({"ingest"})
"""Granted to a peer that passed the checks of its endpoint."""
JWT = "eyJ"
"""Prefix of a JSON Web Token: `{"` in base64url."""
HTTP = "http"
"""Label in `refusals` for requests that are refused before they reach an endpoint."""
TASKS = Gauge("callscreen_tasks", "Tasks on the event loop, each time that metrics are asked for.")
_log = logs.get(__name__)


def build(settings: Settings, registry: Registry, more_routes: Iterable[BaseRoute], issuer: Issuer | None) -> Starlette:
    """Return the application: the websocket endpoints and `more_routes`. `issuer` is that of `settings.jwt`."""
    return Starlette(
        routes=[
            *_media_routes(settings, registry),
            WebSocketRoute(paths.MEDIA + "{door:path}", _no_such_door),
            *more_routes,
        ],
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=settings.allowed_origins,
                allow_methods=["GET", "POST", "PATCH", "DELETE"],
                allow_headers=["authorization", "content-type", "if-match"],
                expose_headers=["location", "link", "etag"],
            ),
            Middleware(Audit),
            Middleware(Guard, settings=settings, issuer=issuer),
        ],
        exception_handlers={CallscreenError: _as_problem, HTTPException: _as_problem, Exception: _as_problem},
    )


def _websocket_routes(path: str, endpoint: Callable[[WebSocket], Awaitable[None]]) -> list[BaseRoute]:
    """Return the routes of a websocket, and those that answer plain HTTP requests to it with an error."""
    both = (path, path + "/")
    return [*(WebSocketRoute(one, endpoint) for one in both), *(Route(one, _upgrade, methods=METHODS) for one in both)]


async def _upgrade(request: Request) -> Response:
    raise UpgradeRequired(f"{request.url.path:.140} is a websocket: expected an upgrade (ws:// or wss://)")


def _media_routes(settings: Settings, calls: Calls) -> list[BaseRoute]:
    async def serve(websocket: WebSocket, door: Door, kind: DialectKind) -> None:
        door = door.owned_by(access_of(websocket.scope).tenant)
        dialect = kind.open(_handshake(websocket, settings), door)
        pace = messages(settings.max_messages_per_s, settings.max_burst_s)
        await serve_media(websocket, dialect, calls, door, pace)

    return [
        route
        for name, door in settings.media_doors().items()
        for route in _websocket_routes(paths.MEDIA + name, partial(serve, door=door, kind=kind_of(name, door)))
    ]


async def _no_such_door(websocket: WebSocket) -> None:
    raise NotFound(f"door: there is no {websocket.path_params['door']!r:.70}; see `doors` in the settings")


def event_routes(bus: Bus, settings: Settings, shared: SharedEvents | None) -> list[BaseRoute]:
    """Return the routes for subscribers."""
    return _websocket_routes(paths.EVENTS, partial(serve_events, bus=bus, settings=settings, shared=shared))


def contract_routes() -> list[BaseRoute]:
    """Return the routes of the contract's documents. They are generated at the first request, not at the start."""

    async def show(request: Request) -> Response:
        document = (await asyncio.to_thread(contract.documents))[request.url.path]
        return Response(document.text, media_type=document.media_type)

    return [Route(path, show) for path in contract.PATHS]


def state_routes(
    metrics: Callable[[], Awaitable[bytes]],
    unready: Callable[[], list[str]],
    warnings: Callable[[], list[str]],
) -> list[BaseRoute]:
    """Return the routes for health and metrics.

    Args:
        metrics: returns all metrics in Prometheus' text format.
        unready: returns the reasons why no call should be sent here now; empty when ready.
        warnings: returns problems that do not keep the gateway from serving calls.
    """

    async def alive(_request: Request) -> Response:
        return JSONResponse({"alive": True})

    async def ready(_request: Request) -> Response:
        reasons = unready()
        body = {"ready": not reasons, "reasons": reasons, "warnings": warnings()}
        return JSONResponse(body, 503 if reasons else 200)

    async def measure(_request: Request) -> Response:
        return Response(await metrics(), media_type=CONTENT_TYPE_LATEST)

    return [
        Route("/healthz", alive),
        Route("/readyz", ready),
        Route("/metrics", measure),
    ]


async def own_metrics() -> bytes:
    """Return the metrics of this process."""
    TASKS.set(len(asyncio.all_tasks()))
    return generate_latest()


class Guard:
    """ASGI middleware that authenticates and authorises every request."""

    def __init__(self, app: ASGIApp, settings: Settings, issuer: Issuer | None = None) -> None:
        self._app = app
        self._issuer = issuer
        self._settings = settings
        limits = settings.rate_limits
        self._requests = Sources("requests", limits.requests_per_s, limits.exempt)
        self._offers = Sources("offers", limits.offers_per_s, limits.exempt)
        self._guarded_doors = {
            paths.MEDIA + name: (door, kind_of(name, door))
            for name, door in settings.media_doors().items()
            if door.is_guarded
        }
        self._whip = settings.whip_door()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request or an upgrade; pass it on, or refuse it with an HTTP status."""
        if scope["type"] in ("http", "websocket"):
            connection = HTTPConnection(scope)
            try:
                self._check_rate(connection)
                need = "public" if scope["path"] in pages.FILES else needed(scope["path"])
                if need != "public":
                    self._check_origin(connection)
                    grant(scope, await self._admit(connection, need))
            except RequestError as error:
                refusals.note(_log, "refused", HTTP, error, path=scope["path"], status=error.status)
                await problem(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check_rate(self, connection: HTTPConnection) -> None:
        """Apply the rate limits of the peer's address. Raises TooManyRequests."""
        address, now_s = connection.client.host if connection.client else "", clock.monotonic_s()
        self._requests.take(address, now_s)
        if connection.scope.get("method") == "POST" and connection.scope["path"].startswith(paths.WHIP):
            self._offers.take(address, now_s)

    def _check_origin(self, connection: HTTPConnection) -> None:
        """Check the origin: without this, any web page could read a local gateway's calls. Raises Forbidden."""
        origin = connection.headers.get("origin")
        if origin is None or origin in self._settings.allowed_origins:
            return
        host = connection.headers.get("host", "")
        own = [_origin(self._settings.public_url)] if self._settings.public_url else []
        if is_loopback(_hostname(host)):  # not true of a DNS name that was rebound to loopback
            own += [f"http://{host}", f"https://{host}"]
        if origin not in own:
            raise Forbidden("origin: this web origin is not in `allowed_origins`")

    async def _admit(self, connection: HTTPConnection, need: access.Scope) -> Access:
        """Return what the peer may do; it includes `need`. Raises Unauthorized, Forbidden."""
        if connection.scope.get("method") == "OPTIONS":  # browsers send preflight requests without a token
            return NOTHING
        admitted = await self._access(connection)
        grant(connection.scope, admitted)  # to be told whose access it was, where it is refused
        admitted.require(need)
        return admitted

    async def _access(self, connection: HTTPConnection) -> Access:
        handshake, path = _handshake(connection, self._settings), connection.url.path
        if own := self._guarded_doors.get(path.rstrip("/")):
            door, kind = own
            kind.check(handshake, door)
            return Access(path, INGEST, door.tenant)
        if self._whip.is_guarded and path.startswith(paths.WHIP):
            self._whip.check_token_and_address(handshake, None)
            return Access(path, INGEST, self._whip.tenant)
        settings = self._settings
        if not settings.has_token:
            return EVERYTHING
        token = presented_token(handshake)
        if self._issuer is not None and token.startswith(JWT):
            return await self._issuer.access(token)
        return tokens.check(token, settings.token, settings.tokens, clock.utc_now())


def problem(error: CallscreenError, headers: dict[str, str] | None = None) -> Response:
    """Return the error as problem details (RFC 9457). A refused upgrade gets them as a denial response."""
    extra = dict(headers or {})
    if error.status == 401:
        extra["www-authenticate"] = "Bearer"
    if error.status == 503:
        extra["retry-after"] = "5"
    if isinstance(error, TooManyRequests):
        extra["retry-after"] = str(error.retry_after_s)
    if isinstance(error, UpgradeRequired):
        extra |= {"upgrade": "websocket", "connection": "upgrade"}
    return _details(type(error).__name__, error.status, str(error), extra)


def _details(title: str, status: int, detail: str, headers: Mapping[str, str] | None) -> Response:
    body = {"title": title, "status": status, "detail": detail}
    return JSONResponse(body, status, headers, media_type="application/problem+json")


async def _as_problem(connection: Any, error: Exception) -> Any:
    """Starlette's exception handler: returns a response for HTTP, sends a denial response for a websocket."""
    if isinstance(error, HTTPException):  # from Starlette: unknown path, or wrong method
        return _details(
            error.detail, error.status_code, f"{connection.scope['path']:.140}: {error.detail}", error.headers
        )
    if not isinstance(error, CallscreenError):  # a bug; Starlette raises it again for the log
        return _details("Internal Server Error", 500, "the gateway failed; its log says why", None)
    refusals.note(_log, "refused", HTTP, error, path=connection.scope["path"], status=error.status)
    if isinstance(connection, WebSocket):
        return await connection.send_denial_response(problem(error))
    return problem(error)


def _handshake(connection: HTTPConnection, settings: Settings) -> Handshake:
    url = connection.url
    if settings.public_url:
        url = URL(settings.public_url.rstrip("/") + url.path).replace(query=url.query)
    peer_ip = connection.client.host if connection.client else ""
    return Handshake(str(url), connection.query_params, connection.headers, peer_ip, clock.utc_now().timestamp())


def _hostname(host: str) -> str:
    """Return the name in a Host header; empty if it is malformed."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
