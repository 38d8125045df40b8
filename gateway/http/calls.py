"""Calls, live and ended, over HTTP.  [IO]

    GET    /v1/calls                          what the journal holds and what is live, newest first, in pages
    GET    /v1/calls/{call_id}                one of them
    GET    /v1/calls/{call_id}/timeline       leg by leg, along the audio
    GET    /v1/calls/{call_id}/timeline.svg   the same as a picture

How the legs of live calls sound comes from memory, all else from the journal.
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
from gateway.alerts.history import Facts, Wanted
from gateway.alerts.journal import Journal
from gateway.auth.access import access_of
from gateway.call.registry import CallState
from gateway.errors import NotFound, Unprocessable

States = Callable[[], Awaitable[list[CallState]]]
PARAMETERS = ("since", "until", "verdict", "text", "state", "limit", "cursor")
TOKEN = "token"  # noqa: S105  also a parameter; checked before we are called
MOST = 200
DEFAULT_LIMIT = 50
"""Calls on a page."""
SVG_HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}


def call_routes(states: States, bus: Bus) -> list[BaseRoute]:
    """Return the routes. `states` returns the live calls, oldest first."""

    async def seen(request: Request) -> dict[str, CallState]:
        whose = access_of(request.scope)
        return {state["call_id"]: state for state in await states() if whose.sees(state["tenant"])}

    async def calls(request: Request) -> Response:
        asked = read_query(request.query_params, bus.journal, access_of(request.scope).tenant)
        live = await seen(request)
        found, following, known = await bus.ask(partial(_page, asked))
        told = [joined(call, live.get(call["call_id"])) for call in found]
        if asked.before is None:
            unknown = [joined(_unknown(state), state) for name, state in live.items() if name not in known]
            told = [call for call in reversed(unknown) if _is_wanted(call, asked.wanted)] + told
        verdict = asked.wanted.verdict
        shown = [call for call in told if verdict is None or _has(call, verdict)]
        return JSONResponse({"calls": shown, "next": None if following is None else bus.journal.cursor(following)})

    async def call(request: Request) -> Response:
        call_id = request.path_params["call_id"]
        live = (await seen(request)).get(call_id)
        told = await bus.ask(partial(history.one, call_id=call_id, tenant=access_of(request.scope).tenant))
        if live is not None and (told is None or told["ended"] is not None):
            told = _unknown(live)
        if told is None:
            raise _no_such_call(call_id)
        return JSONResponse(joined(told, live))

    async def told(request: Request, write: Callable[[Facts], bytes]) -> bytes:
        call_id, tenant = request.path_params["call_id"], access_of(request.scope).tenant
        return await bus.ask(partial(_timeline, journal=bus.journal, call_id=call_id, tenant=tenant, write=write))

    async def line(request: Request) -> Response:
        return Response(await told(request, msgspec.json.encode), media_type="application/json")

    async def drawn(request: Request) -> Response:
        return Response(await told(request, picture.draw), media_type="image/svg+xml", headers=SVG_HEADERS)

    return [
        Route(paths.CALLS, calls),
        Route(paths.CALLS + "/{call_id}", call),
        Route(paths.CALLS + "/{call_id}/timeline", line),
        Route(paths.CALLS + "/{call_id}/timeline.svg", drawn),
    ]


@dataclass(frozen=True, slots=True)
class Asked:
    """A page of calls."""

    wanted: Wanted
    before: int | None
    limit: int


def read_query(query: QueryParams, journal: Journal, tenant: str | None) -> Asked:
    """Read what calls are asked for, of `tenant`; None: of all.

    Raises:
        Unprocessable: names the parameter and what was expected.
    """
    for name in query:
        if name not in (*PARAMETERS, TOKEN):
            raise Unprocessable(f"{name[:40]}: unknown parameter; expected {', '.join(PARAMETERS)}")
        if len(query.getlist(name)) > 1:
            raise Unprocessable(f"{name}: expected once")
    limit, cursor = query.get("limit", str(DEFAULT_LIMIT)), query.get("cursor")
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= MOST):
        raise Unprocessable(f"limit: expected a whole number from 1 to {MOST}, got {limit!r:.40}")
    before = None if cursor is None else journal.position(cursor)
    if cursor is not None and before is None:
        raise Unprocessable("cursor: expected `next` of the page before; this one is of another journal, or none")
    state = _one_of(query, "state", ("live", "ended"))
    wanted = Wanted(
        since=_time(query, "since"),
        until=_time(query, "until"),
        verdict=_one_of(query, "verdict", get_args(Verdict)),
        text=query.get("text") or None,
        state="live" if state == "live" else "ended" if state else None,
        tenant=tenant,
    )
    return Asked(wanted, before, int(limit))


def joined(call: Facts, state: CallState | None) -> Facts:
    """Return what the journal tells of a call, with how its legs sound now where it is live."""
    if state is None or call["ended"] is not None:
        return call | {"live": False, "age_s": None, "legs": [leg | {"alert": None} for leg in call["legs"]]}
    now = {leg["leg"]: leg for leg in state["legs"]}
    told = [
        leg | {"alert": None} | (now.pop(leg["leg"], {}) if leg["ended_by"] is None else {}) for leg in call["legs"]
    ]
    uncommitted = [history.unknown_leg(name) | leg for name, leg in now.items()]
    return call | {"live": True, "age_s": state["age_s"], "legs": told + uncommitted}


def _page(asked: Asked, reader: sqlite3.Connection) -> tuple[list[Facts], int | None, set[str]]:
    """Return calls, where the next page begins, and the ids of all that are open in the journal."""
    known = {call_id for (call_id,) in reader.execute("SELECT call_id FROM calls WHERE last IS NULL")}
    return *history.page(reader, asked.wanted, asked.before, asked.limit), known


def _timeline(
    reader: sqlite3.Connection, journal: Journal, call_id: str, tenant: str | None, write: Callable[[Facts], bytes]
) -> bytes:  # fmt: skip
    told = timeline.of(reader, call_id, journal.kept_after(scores=True), tenant)
    if told is None:
        raise _no_such_call(call_id)
    return write(told)


def _no_such_call(call_id: str) -> NotFound:
    return NotFound(f"call_id: there is no call {call_id!r:.140}, live or in the journal")


def _unknown(state: CallState) -> Facts:
    """Return what the journal will tell of a live call whose start is not committed yet."""
    started = history.rfc3339(clock.utc_now().timestamp() - state["age_s"])
    attached = {name: state[name] for name in ("call_id", "source", "separation", "tenant")}
    return attached | {"started": started, "ended": None, "legs": [], "alerts": []}


def _is_wanted(call: Facts, wanted: Wanted) -> bool:
    started = datetime.fromisoformat(call["started"]).timestamp()
    return (
        wanted.state != "ended"
        and (wanted.since is None or started >= wanted.since)
        and (wanted.until is None or started < wanted.until)
        and (wanted.text is None or wanted.text.lower() in call["call_id"].lower())
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
        f"{name}: expected a time as of RFC 3339, e.g. 2026-11-27T21:00:00Z (a + is written %2B); got {value!r:.40}"
    )
