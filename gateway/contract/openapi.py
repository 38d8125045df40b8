"""The OpenAPI 3.1 document of the HTTP API.  [S]

Source: OpenAPI 3.1.1, https://spec.openapis.org/oas/v3.1.1.
"""

from __future__ import annotations

from typing import Any, get_args

from gateway import paths
from gateway.alerts.cloud_event import VERSION
from gateway.alerts.event import Verdict
from gateway.contract import answers, call_answers
from gateway.contract.schemas import model_schema

DESCRIPTION = """\
The HTTP API of a gateway. Events are sent over a websocket, described by the AsyncAPI document. If a token is \
configured, every route needs a bearer token with the right scope, except where noted. Errors are problem details \
(RFC 9457).
"""
OPEN: dict[str, Any] = {"security": []}
"""For routes that need no token."""
TIME = {"type": "string", "format": "date-time"}
CALLS_QUERY: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("since", "Calls that started at this time or later.", TIME),
    ("until", "Calls that started before this time.", TIME),
    ("verdict", "Calls with a leg of this verdict; for live legs, the current one.", {"enum": list(get_args(Verdict))}),
    ("text", "Calls whose id contains this; not case-sensitive.", {"type": "string"}),
    ("state", "Only live, or only ended calls.", {"enum": ["live", "ended"]}),
    ("limit", "Calls per page.", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}),
    ("cursor", "`next` of the previous page.", {"type": "string"}),
)
RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds to wait (RFC 9110, 10.2.3).",
        "schema": {"type": "integer"},
        "required": True,
    }
}
MODELS: list[type[answers.Answer]] = sorted(answers.MODELS + call_answers.MODELS, key=lambda model: model.__name__)
SDP = {"schema": {"type": "string"}}


def openapi() -> dict[str, Any]:
    """Return the document."""
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "callscreen",
            "version": VERSION,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:8080", "description": "A gateway with the default settings."}],
        "security": [{"bearer": []}, {"query": []}],
        "paths": _calls() | _alerts() | _evidence() | _webhooks() | _whip() | _health() | _documents(),
        "components": {
            "schemas": {
                model.__name__: _component(model_schema(model))
                for model in sorted(MODELS, key=lambda model: model.__name__)
            },
            "responses": {
                "Problem": _problem("The request was refused; `detail` says why."),
                "NotNow": _problem("The request cannot be answered now; `detail` says why.", RETRY_AFTER),
                "TooManyRequests": _problem("This address sent too many requests.", RETRY_AFTER),
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "query": {"type": "apiKey", "in": "query", "name": "token"},
            },
        },
    }


def _calls() -> dict[str, Any]:
    parameters = {"parameters": [_in_query(*one) for one in CALLS_QUERY]}
    call_id = [_in_path("call_id", "As in the events; the newest call with this id.")]
    calls = {"200": _json("Calls", "A page of live and stored calls, newest first.")}
    picture = {"description": "The picture.", "content": {"image/svg+xml": {"schema": {"type": "string"}}}}
    refusals = ("401", "403", "404", "503")
    return {
        paths.CALLS: {"get": _operation("listCalls", "List calls.", calls, "401", "403", "422", "503") | parameters},
        paths.CALLS + "/{call_id}": {
            "parameters": call_id,
            "get": _operation("getCall", "Get a call.", {"200": _json("Call")}, *refusals),
        },
        paths.CALLS + "/{call_id}/timeline": {
            "parameters": call_id,
            "get": _operation("getTimeline", "Get a call's timeline.", {"200": _json("Timeline")}, *refusals),
        },
        paths.CALLS + "/{call_id}/timeline.svg": {
            "parameters": call_id,
            "get": _operation("drawTimeline", "Get a call's timeline as a picture.", {"200": picture}, *refusals),
        },
    }


def _alerts() -> dict[str, Any]:
    body = {"required": True, "content": {"application/json": {"schema": _ref("Feedback")}}}
    refusals = ("400", "401", "403", "404", "413", "422", "503")
    taken = {"202": _json("FeedbackTaken", "Accepted; it will be stored and sent to subscribers.")}
    return {
        paths.ALERTS + "/{alert_id}/feedback": {
            "parameters": [_in_path("alert_id", "As in the events.")],
            "post": _operation("giveFeedback", "Confirm or dismiss an alert.", taken, *refusals)
            | {"requestBody": body},
        },
    }


def _evidence() -> dict[str, Any]:
    call_id = _in_path("call_id", "As in the events; of all calls with this id.")
    refusals = ("401", "403", "404", "503")
    age = {"application/vnd.age": {"schema": {"type": "string", "format": "binary"}}}
    file = {"description": "A FLAC file, encrypted (age).", "content": age}
    deleted = {"200": _json("EvidenceDeleted")}
    return {
        paths.EVIDENCE + "/{call_id}": {
            "parameters": [call_id],
            "get": _operation("listEvidence", "A call's audio evidence.", {"200": _json("EvidenceFiles")}, *refusals),
            "delete": _operation("deleteEvidence", "Delete a call's audio evidence.", deleted, *refusals),
        },
        paths.EVIDENCE + "/{call_id}/{alert_id}": {
            "parameters": [call_id, _in_path("alert_id", "As in the events.")],
            "get": _operation("fetchEvidence", "The audio around an alert.", {"200": file}, *refusals),
        },
    }


def _webhooks() -> dict[str, Any]:
    name = [_in_path("name", "The webhook's name in the settings.")]
    refusals = ("401", "403", "404", "503")
    replayed, tested = {"200": _json("Replayed")}, {"200": _json("WebhookTest")}
    return {
        paths.WEBHOOKS + "/dead": {
            "get": _operation("listDead", "List dead letters.", {"200": _json("DeadLetters")}, "401", "403"),
        },
        paths.WEBHOOKS + "/{name}/replay": {
            "parameters": name,
            "post": _operation("replay", "Deliver a webhook's dead letters again.", replayed, *refusals),
        },
        paths.WEBHOOKS + "/{name}/test": {
            "parameters": name,
            "post": _operation("testWebhook", "Deliver a test event once.", tested, *refusals),
        },
    }


def _whip() -> dict[str, Any]:
    leg = [_in_path("call_id", "The call's id, shared by its speakers."), _in_path("leg", "The speaker's name.")]
    location = {"Location": {"description": "URL of the session.", "schema": {"type": "string"}, "required": True}}
    answer = {"description": "The session.", "headers": location, "content": {"application/sdp": SDP}}
    role = {
        "name": "role",
        "in": "query",
        "schema": {"enum": ["caller", "callee", "agent", "customer", "unknown"]},
        "description": "Role of the speaker.",
    }
    refusals = ("400", "401", "403", "408", "409", "413", "415", "422", "503")
    start = _operation("startSession", "Send a speaker's audio over WebRTC (WHIP).", {"201": answer}, *refusals)
    preflight = _operation("askWhatIsAccepted", "The media type of an offer.", {"204": {"description": "Accept-Post."}})
    ended = {"200": {"description": "The session has ended."}}
    return {
        paths.WHIP + "{call_id}/{leg}": {
            "parameters": [*leg, role],
            "post": start | {"requestBody": {"required": True, "content": {"application/sdp": SDP}}},
            "options": preflight | OPEN,
        },
        paths.WHIP + "{call_id}/{leg}/{session}": {
            "parameters": [*leg, _in_path("session", "Last part of the header Location.")],
            "delete": _operation("endSession", "End a session.", ended, "401", "403", "404"),
        },
    }


def _health() -> dict[str, Any]:
    text = {"description": "Prometheus' text format.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    ready = {"200": _json("Ready"), "503": _json("Ready", "No calls should be sent here now.")}
    return {
        "/healthz": {"get": _operation("alive", "Check that the process answers.", {"200": _json("Alive")}) | OPEN},
        "/readyz": {"get": _operation("ready", "Check whether calls can be sent here now.", ready) | OPEN},
        "/metrics": {"get": _operation("metrics", "Get the metrics.", {"200": text}, "401", "403")},
    }


def _documents() -> dict[str, Any]:
    document = {"description": "The document.", "content": {"application/json": {"schema": {"type": "object"}}}}
    schema = {"description": "A JSON Schema.", "content": {"application/schema+json": {"schema": {"type": "object"}}}}
    return {
        paths.ASYNCAPI: {"get": _operation("asyncapi", "Get the AsyncAPI document.", {"200": document}) | OPEN},
        paths.OPENAPI: {"get": _operation("openapi", "Get this document.", {"200": document}) | OPEN},
        paths.SCHEMAS: {
            "get": _operation("listSchemas", "List the paths of the events' schemas.", {"200": _json("Schemas")}) | OPEN
        },
        paths.SCHEMAS + "/{type}": {
            "parameters": [_in_path("type", "An event type, e.g. alert.raised.")],
            "get": _operation(
                "getSchema", "Get the JSON Schema of an event type.", {"200": schema}, "401", "403", "404"
            )
            | OPEN,
        },
    }


def _operation(name: str, summary: str, responses: dict[str, Any], *refusals: str) -> dict[str, Any]:
    kinds = {"503": "NotNow", "429": "TooManyRequests"}
    refused = {
        status: {"$ref": f"#/components/responses/{kinds.get(status, 'Problem')}"}
        for status in sorted({*refusals, "429"})  # the rate limit holds for every path
    }
    return {"operationId": name, "summary": summary, "responses": responses | refused}


def _problem(description: str, headers: dict[str, Any] | None = None) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": _ref("Problem")}}
    return {"description": description, "content": content} | ({"headers": headers} if headers else {})


def _json(model: str, description: str = "The requested data.") -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _ref(model)}}}


def _in_path(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "description": description}


def _in_query(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _ref(model: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model}"}


def _component(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without its nested definitions, which are components themselves."""
    return {name: value for name, value in schema.items() if name != "$defs"}
