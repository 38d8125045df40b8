"""Feedback on alerts over HTTP: ``POST /v1/alerts/{alert_id}/feedback``.  [IO]"""

from __future__ import annotations

import sqlite3
from functools import partial

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from gateway import paths
from gateway.alerts.bus import Bus
from gateway.alerts.cloud_event import CloudEvent
from gateway.alerts.event import AlertRaised, EventData, FeedbackGiven
from gateway.auth.access import Access, access_of
from gateway.contract.answers import Feedback
from gateway.errors import MessageTooBig, NotFound, Overloaded, ProtocolError, Unprocessable

MAX_BODY_BYTES = 16 * 1024
"""A note has at most 500 characters."""
OPERATOR = "operator"


def feedback_routes(bus: Bus) -> list[BaseRoute]:
    """Return the route."""

    async def give(request: Request) -> Response:
        feedback = read_feedback(await _body(request))
        alert_id = request.path_params["alert_id"]
        alert = await bus.query(partial(_alert, alert_id=alert_id, access=access_of(request.scope)))
        facts = {name: getattr(alert, name) for name in EventData.model_fields}
        given = {"alert_id": alert_id, "verdict": feedback.verdict, "note": feedback.note, "reason": OPERATOR}
        event = bus.publish(FeedbackGiven.model_validate(facts | given))
        if event is None:
            raise Overloaded("the queue of events for the journal is full")
        return JSONResponse({"event_id": event.id}, 202)

    return [Route(paths.ALERTS + "/{alert_id}/feedback", give, methods=["POST"])]


def read_feedback(body: bytes) -> Feedback:
    """Parse a request's body.

    Raises:
        ProtocolError: it is not JSON.
        Unprocessable: names the field and what was expected.
    """
    try:
        return Feedback.model_validate_json(body)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if fault["type"] == "json_invalid":
        raise ProtocolError('body: expected JSON, e.g. {"verdict": "dismissed", "note": "a colleague"}')
    raise Unprocessable(f"{'.'.join(str(part) for part in fault['loc']) or 'body'}: {fault['msg']}")


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise MessageTooBig(f"body: expected at most {MAX_BODY_BYTES} bytes, got more")
    return bytes(body)


def _alert(reader: sqlite3.Connection, alert_id: str, access: Access) -> AlertRaised:
    """Return the alert, if `access` allows it. Raises NotFound."""
    row = reader.execute(
        "SELECT text FROM events WHERE seq = (SELECT seq FROM alerts WHERE alert_id = ?)", (alert_id,)
    ).fetchone()
    if row is not None:
        try:
            alert = CloudEvent.model_validate_json(row[0]).data
        except ValidationError:  # the event is damaged
            alert = None
        if isinstance(alert, AlertRaised) and access.sees(alert.tenant):
            return alert
    raise NotFound(f"alert_id: there is no alert {alert_id!r:.80} in the journal")
