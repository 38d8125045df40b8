"""Audio evidence over HTTP, still encrypted, and a log line for every access.  [IO]

    GET     /v1/evidence/{call_id}               the files of a call
    GET     /v1/evidence/{call_id}/{alert_id}    one file, as it is stored
    DELETE  /v1/evidence/{call_id}               delete them

The answer is the same 404 if there are no files, if they are another tenant's, and if evidence is off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway import logs, paths
from gateway.auth.access import access_of, who
from gateway.errors import NotFound, Overloaded
from gateway.evidence.folder import SUFFIX, Folder, rfc3339
from gateway.evidence.settings import EvidenceSettings

MEDIA_TYPE = "application/vnd.age"
"""Media type of age files, as registered with IANA."""
ACTIONS = {"GET": "fetch", "HEAD": "fetch", "DELETE": "delete"}
MAX_ID_LENGTH = 140
"""Maximum length of ids in the log."""
Answer = TypeVar("Answer")
_audit = logs.get(logs.AUDIT)


def evidence_routes(settings: EvidenceSettings | None) -> list[BaseRoute]:
    """Return the routes; with `settings` None, all answer 404."""
    folder = Folder(settings.folder) if settings else None
    kept = timedelta(days=settings.max_days if settings else 0.0)

    async def show(request: Request) -> Response:
        call_id, tenant = _asked(request)
        entries = await _in_thread(partial(folder.entries, call_id, tenant)) if folder else []
        if not entries:
            raise _nothing(call_id)
        return JSONResponse(
            {"evidence": [entry.facts() | {"expires": rfc3339(entry.stored + kept)} for entry in entries]}
        )

    async def fetch(request: Request) -> Response:
        (call_id, tenant), alert_id = _asked(request), request.path_params["alert_id"]
        data = await _in_thread(partial(folder.read, call_id, alert_id, tenant)) if folder else None
        if data is None:
            raise _nothing(call_id)
        disposition = f'attachment; filename="{alert_id}{SUFFIX}"'
        return Response(data, media_type=MEDIA_TYPE, headers={"content-disposition": disposition})

    async def delete(request: Request) -> Response:
        call_id, tenant = _asked(request)
        deleted = await _in_thread(partial(folder.delete, call_id, tenant)) if folder else 0
        if not deleted:
            raise _nothing(call_id)
        return JSONResponse({"deleted": deleted})

    return [
        Route(paths.EVIDENCE + "/{call_id}", show),
        Route(paths.EVIDENCE + "/{call_id}", delete, methods=["DELETE"]),
        Route(paths.EVIDENCE + "/{call_id}/{alert_id}", fetch),
    ]


class Audit:
    """ASGI middleware that logs every access to evidence, granted or refused, and forbids caching."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and log its status."""
        if scope["type"] != "http" or not f"{scope['path']}/".startswith(paths.EVIDENCE + "/"):
            await self._app(scope, receive, send)
            return
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [header for header in message["headers"] if header[0] != b"cache-control"]
                message = {**message, "headers": [*headers, (b"cache-control", b"no-store")]}
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            _log_access(scope, status)


def _log_access(scope: Scope, status: int) -> None:
    call_id, _, alert_id = scope["path"].removeprefix(paths.EVIDENCE).strip("/").partition("/")
    action = ACTIONS.get(scope["method"], scope["method"][:MAX_ID_LENGTH])
    admitted = who(scope)
    _audit.info(
        "evidence accessed",
        action="list" if action == "fetch" and not alert_id else action,
        call_id=call_id[:MAX_ID_LENGTH],
        alert_id=alert_id[:MAX_ID_LENGTH] or None,
        status=status,
        granted=status < 400,
        who=admitted and admitted.name,  # None: the general token, or no token is needed; see `scopes`
        scopes=sorted(admitted.scopes) if admitted else [],
        tenant=admitted and admitted.tenant,
        address=scope["client"][0] if scope.get("client") else None,
    )


def _asked(request: Request) -> tuple[str, str | None]:
    """Return the call id of the request, and the only tenant whose calls it may see (None: all)."""
    return request.path_params["call_id"], access_of(request.scope).tenant


async def _in_thread(work: Callable[[], Answer]) -> Answer:
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        raise Overloaded(f"the evidence folder cannot be used: {error.strerror}") from None


def _nothing(call_id: str) -> NotFound:
    return NotFound(f"call_id: there is no such evidence of a call {call_id!r:.140}")
