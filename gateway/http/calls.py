"""Calls over HTTP: live ones, and those in the journal.  [IO]

    GET    /v1/calls                          all calls, newest first, in pages
    GET    /v1/calls/{call_id}                one call
    GET    /v1/calls/{call_id}/timeline       scores, gaps and alerts of each leg along its audio
    GET    /v1/calls/{call_id}/timeline.svg   the timeline as a picture

The state of live legs comes from memory, everything else from the journal.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Literal, get_args

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from gateway import clock, paths
from gateway.alerts import history, picture, timeline
from gateway.alerts.bus import Bus
from gateway.alerts.event import Verdict
from gateway.alerts.history import CallQuery, Facts
from gateway.alerts.journal import Journal
from gateway.auth.access import access_of
from gateway.call.registry import CallState
from gateway.errors import NotFound, Unprocessable

States = Callable[[], Awaitable[list[CallState]]]
PARAMETERS = ("since", "until", "verdict", "text", "state", "limit", "cursor")
TOKEN = "token"  # noqa: S105  also a parameter; already checked by `Guard`
MAX_LIMIT = 200
DEFAULT_LIMIT = 50
"""Calls per page."""
SVG_HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}


def call_routes(states: States, bus: Bus) -> list[BaseRoute]:
    """Return the routes. `states` returns the live calls, oldest first."""

    async def visible(request: Request) -> dict[str, CallState]:
        access = access_of(request.scope)
        return {state["call_id"]: state for state in await states() if access.sees(state["tenant"])}

    async def list_calls(request: Request) -> Response:
        asked = read_query(request.query_params, bus.journal, access_of(request.scope).tenant)
        live = await visible(request)
        stored, next_before, open_ids = await bus.query(partial(_page, asked))
        page = [joined(call, live.get(call["call_id"])) for call in stored]
        if asked.before is None:
            uncommitted = [joined(_uncommitted(state), state) for name, state in live.items() if name not in open_ids]
            page = [call for call in reversed(uncommitted) if _matches(call, asked.query)] + page
        verdict = asked.query.verdict
        page = [call for call in page if verdict is None or _has(call, verdict)]
        return JSONResponse({"calls": page, "next": None if next_before is None else bus.journal.cursor(next_before)})

    async def get_call(request: Request) -> Response:
        call_id = request.path_params["call_id"]
        live = (await visible(request)).get(call_id)
        call = await bus.query(partial(history.one, call_id=call_id, tenant=access_of(request.scope).tenant))
        if live is not None and (call is None or call["ended"] is not None):
            call = _uncommitted(live)
        if call is None:
            raise _no_such_call(call_id)
        return JSONResponse(joined(call, live))

    async def written(request: Request, write: Callable[[Facts], bytes]) -> bytes:
        call_id, tenant = request.path_params["call_id"], access_of(request.scope).tenant
        return await bus.query(partial(_timeline, journal=bus.journal, call_id=call_id, tenant=tenant, write=write))

    async def get_timeline(request: Request) -> Response:
        return Response(await written(request, msgspec.json.encode), media_type="application/json")

    async def draw_timeline(request: Request) -> Response:
        return Response(await written(request, picture.draw), media_type="image/svg+xml", headers=SVG_HEADERS)

    return [
        Route(paths.CALLS, list_calls),
        Route(paths.CALLS + "/{call_id}", get_call),
        Route(paths.CALLS + "/{call_id}/timeline", get_timeline),
        Route(paths.CALLS + "/{call_id}/timeline.svg", draw_timeline),
    ]


@dataclass(frozen=True, slots=True)
class PageRequest:
    """The query of one page of calls."""

    query: CallQuery
    before: int | None
    limit: int


def read_query(query: QueryParams, journal: Journal, tenant: str | None) -> PageRequest:
    """Parse the query; only calls of `tenant` are returned, None: of all.

    Raises:
        Unprocessable: names the parameter and what was expected.
    """
    for name in query:
        if name not in (*PARAMETERS, TOKEN):
            raise Unprocessable(f"{name[:40]}: unknown parameter; expected {', '.join(PARAMETERS)}")
        if len(query.getlist(name)) > 1:
            raise Unprocessable(f"{name}: expected once")
    limit, cursor = query.get("limit", str(DEFAULT_LIMIT)), query.get("cursor")
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= MAX_LIMIT):
        raise Unprocessable(f"limit: expected a whole number from 1 to {MAX_LIMIT}, got {limit!r:.40}")
    before = None if cursor is None else journal.position(cursor)
    if cursor is not None and before is None:
        raise Unprocessable(f"cursor: expected `next` of the previous page, got {cursor!r:.40}")
    state = _one_of(query, "state", ("live", "ended"))
    call_query = CallQuery(
        since=_time(query, "since"),
        until=_time(query, "until"),
        verdict=_one_of(query, "verdict", get_args(Verdict)),
        text=query.get("text") or None,
        state="live" if state == "live" else "ended" if state else None,
        tenant=tenant,
    )
    return PageRequest(call_query, before, int(limit))


def joined(call: Facts, state: CallState | None) -> Facts:
    """Return a call from the journal, with the current state of its legs if it is live."""
    if state is None or call["ended"] is not None:
        return call | {"live": False, "age_s": None, "legs": [leg | {"alert": None} for leg in call["legs"]]}
    live = {leg["leg"]: leg for leg in state["legs"]}
    legs = [
        leg | {"alert": None} | (live.pop(leg["leg"], {}) if leg["ended_by"] is None else {}) for leg in call["legs"]
    ]
    uncommitted = [history.unknown_leg(name) | leg for name, leg in live.items()]
    return call | {"live": True, "age_s": state["age_s"], "legs": legs + uncommitted}


def _page(asked: PageRequest, reader: sqlite3.Connection) -> tuple[list[Facts], int | None, set[str]]:
    """Return the calls, `before` of the next page, and the ids of all calls that are open in the journal."""
    open_ids = {call_id for (call_id,) in reader.execute("SELECT call_id FROM calls WHERE last IS NULL")}
    return *history.page(reader, asked.query, asked.before, asked.limit), open_ids


def _timeline(
    reader: sqlite3.Connection, journal: Journal, call_id: str, tenant: str | None, write: Callable[[Facts], bytes]
) -> bytes:  # fmt: skip
    call = timeline.of(reader, call_id, journal.kept_after(scores=True), tenant)
    if call is None:
        raise _no_such_call(call_id)
    return write(call)


def _no_such_call(call_id: str) -> NotFound:
    return NotFound(f"call_id: there is no call {call_id!r:.140}, live or in the journal")


def _uncommitted(state: CallState) -> Facts:
    """Return a live call whose start is not yet in the journal, as the journal will return it."""
    started = history.rfc3339(clock.utc_now().timestamp() - state["age_s"])
    attached = {name: state[name] for name in ("call_id", "source", "separation", "tenant")}
    return attached | {"started": started, "ended": None, "legs": [], "alerts": []}


def _matches(call: Facts, query: CallQuery) -> bool:
    started = datetime.fromisoformat(call["started"]).timestamp()
    return (
        query.state != "ended"
        and (query.since is None or started >= query.since)
        and (query.until is None or started < query.until)
        and (query.text is None or query.text.lower() in call["call_id"].lower())
    )


def _has(call: Facts, verdict: str) -> bool:
    return any(leg.get("verdict") == verdict for leg in call["legs"])


def _one_of(query: QueryParams, name: str, options: tuple[str, ...]) -> str | None:
    value = query.get(name)
    if value is not None and value not in options:
        raise Unprocessable(f"{name}: expected one of {', '.join(options)}; got {value!r:.40}")
    return value


def _time(query: QueryParams, name: Literal["since", "until"]) -> float | None:
    value = query.get(name)
    if value is None:
        return None
    try:
        at = datetime.fromisoformat(value)
        if at.tzinfo is not None and "T" in value.upper():
            return at.timestamp()
    except (ValueError, OverflowError):
        pass
    raise Unprocessable(
        f"{name}: expected a time in RFC 3339, e.g. 2026-11-27T21:00:00Z (write + as %2B), got {value!r:.40}"
    )
