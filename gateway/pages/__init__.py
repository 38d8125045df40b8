"""The dashboard, served by the gateway: ``/`` shows live calls, ``/call`` sends a test call.  [IO]

The files hold no secret and need no token, but the data that they show does. The user enters the token, which stays in
the tab's memory. Nothing is loaded from other origins, and the content security policy enforces that.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

_FOLDER = Path(__file__).parent
MEDIA_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
FILES = {"/": "live.html", "/call": "call.html"} | {
    f"/pages/{file.name}": file.name for file in sorted(_FOLDER.iterdir()) if file.suffix in (".js", ".css")
}
"""The file of each path."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "microphone=(self), display-capture=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def routes() -> list[BaseRoute]:
    """Return the routes of all pages. The files are read now, once."""
    return [Route(path, partial(_show, page=_page(_FOLDER / name))) for path, name in FILES.items()]


def _page(file: Path) -> Response:
    return Response(file.read_bytes(), headers=HEADERS, media_type=MEDIA_TYPES[file.suffix])


async def _show(_request: Request, page: Response) -> Response:
    return page
