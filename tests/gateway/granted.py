"""In place of the gateway's guard, where a test serves a part alone: everybody may do what the test says."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.auth.access import EVERYTHING, Access, grant


class Granted:
    """ASGI middleware that grants the same access to everybody."""

    def __init__(self, app: ASGIApp, access: Access = EVERYTHING) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        grant(scope, self._access)
        await self._app(scope, receive, send)
