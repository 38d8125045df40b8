"""What a gateway really sends is what its documents say: events of every type, answers, refusals."""

from __future__ import annotations

import asyncio
import json
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from websockets.asyncio.client import connect

from gateway.alerts.event import EVENT_TYPES, STORED_TYPES
from gateway.app import Server
from gateway.contract.asyncapi import QUERY
from gateway.contract.schemas import event_document
from gateway.evidence.age import new_pair
from tests.gateway.conftest import Serve
from tests.gateway.loudness import speech
from tests.gateway.wire import TWILIO_STOP, plain, refused, say, subscribed, twilio_media, twilio_start, ws_url

ALL = ",".join(STORED_TYPES)
KINDS = {name: kind for kind, name in EVENT_TYPES.items()}
pytestmark = pytest.mark.usefixtures("detector")


@cache
def validator(type_: str) -> Draft202012Validator:
    document = event_document(KINDS[type_])
    Draft202012Validator.check_schema(document)
    return Draft202012Validator(document, format_checker=Draft202012Validator.FORMAT_CHECKER)


def check(event: dict[str, Any]) -> None:
    """Fail unless the event is as its schema says, and the schema says all that is in it."""
    validator(event["type"]).validate(event)
    schema = event_document(KINDS[event["type"]])
    assert set(event) <= set(schema["properties"])
    data = schema["properties"]["data"]
    assert set(data["required"]) <= set(event["data"]) <= set(data["properties"])


async def play(server: Server) -> None:
    """One call in which everything happens that events tell of."""
    async with (
        connect(ws_url(server, "/v1/media/twilio")) as line,
        plain(server, "caller") as caller,
        plain(server, "callee") as callee,
        subscribed(server, "?call_id=c-1") as events,
    ):
        await line.send(twilio_start("bad-line", ("inbound",)))
        for index in range(0, 500, 5):
            await line.send(twilio_media(index))
        await say(callee, speech(10, synthetic=True))
        await events.until("voice.expected")
        await say(caller, np.concatenate([speech(10, synthetic=True), speech(30, synthetic=False)]))
        cleared = await events.until("alert.cleared")
        async with httpx.AsyncClient(base_url=server.url) as web:
            path = f"/v1/alerts/{cleared['data']['alert_id']}/feedback"
            assert (await web.post(path, json={"verdict": "dismissed"})).status_code == 202
        await line.send(TWILIO_STOP)


async def until_all(server: Server) -> list[dict[str, Any]]:
    """Return what a subscriber for everything gets, until it had every type and both calls have ended."""
    events: list[dict[str, Any]] = []
    async with asyncio.timeout(30), connect(ws_url(server, f"/v1/events?type={ALL}&last_event_id=unknown")) as socket:
        while {event["type"] for event in events} != set(KINDS) or types(events).count("call.ended") < 2:
            events.append(json.loads(await socket.recv()))
    return events


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


async def test_every_event_is_as_its_schema_says(serve: Serve, tmp_path: Path) -> None:
    server = await serve(
        verifier="the same again",
        expected_machine=[{"leg": "callee"}],
        heartbeat_s=0.2,
        shadow={"model": "candidate"},
        evidence={"folder": tmp_path / "evidence", "public_keys": [new_pair()[1]]},
    )
    events, _ = await asyncio.gather(until_all(server), play(server))
    for event in events:
        check(event)


async def test_a_field_that_is_missing_or_out_of_range_is_not_as_the_schema_says(serve: Serve) -> None:
    server = await serve()
    async with subscribed(server, "?type=leg.started") as subscriber, plain(server, "caller"):
        event = await subscriber.until("leg.started")
    for change in ({"speech_s": -1.0}, {"p_synthetic": 1.5}, {"separation": "both"}, {"rate_hz": None}):
        assert not validator("leg.started").is_valid(event | {"data": event["data"] | change})
    assert not validator("leg.started").is_valid(event | {"dataschema": "urn:callscreen:events:v2"})
    oldest = json.loads((Path(__file__).parent / "v1/leg.started.json").read_text())
    assert set(oldest["data"]) <= set(event["data"])
    for name in oldest["data"]:  # what was always there stays required; what came later is not
        rest = {key: value for key, value in event["data"].items() if key != name}
        assert not validator("leg.started").is_valid(event | {"data": rest})
    assert validator("leg.started").is_valid(event | {"data": event["data"] | {"later": 1}, "traceparent": "00-1"})


async def test_every_parameter_that_the_document_names_is_taken(serve: Serve) -> None:
    server = await serve(token="t")
    values = {"call_id": "c", "leg": "l", "type": ALL, "last_event_id": "unknown", "scope": "own", "token": "t"}
    assert values.keys() == QUERY["properties"].keys()
    query = "&".join(f"{name}={value}" for name, value in values.items())
    async with connect(ws_url(server, f"/v1/events?{query}")) as socket:
        check(json.loads(await socket.recv()))


async def test_answers_and_refusals_are_as_openapi_says(serve: Serve) -> None:
    server = await serve(token="t")
    async with httpx.AsyncClient(base_url=server.url) as web:
        document = (await web.get("/openapi.json")).json()
        web.headers["Authorization"] = "Bearer t"
        async with connect(
            ws_url(server, "/v1/media/plain?call_id=c-1&leg=caller&encoding=s16le&rate=16000&token=t")
        ) as caller:
            await say(caller, speech(6, synthetic=True))
            async with asyncio.timeout(10):
                while not (calls := (await web.get("/v1/calls")).json())["calls"]:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            as_said(document, "Calls", calls)
            as_said(document, "Call", (await web.get("/v1/calls/c-1")).json())
            as_said(document, "Timeline", (await web.get("/v1/calls/c-1/timeline")).json())
        as_said(document, "Alive", (await web.get("/healthz")).json())
        as_said(document, "Ready", (await web.get("/readyz")).json())
        as_said(document, "Schemas", (await web.get("/v1/schemas")).json())
        for problem in (await web.get("/v1/calls/none"), await web.get("/v1/events"), await web.post("/v1/whip/a/b")):
            as_said(document, "Problem", problem.json())
    as_said(document, "Problem", (await refused(ws_url(server, "/v1/events")))[1])


def as_said(document: dict[str, Any], model: str, answer: Any) -> None:
    """Fail unless an answer is as its schema says, with nothing besides."""
    schemas = {
        name: schema | {"additionalProperties": schema.get("additionalProperties", False)}
        for name, schema in document["components"]["schemas"].items()
    }
    Draft202012Validator({"$ref": f"#/components/schemas/{model}", "components": {"schemas": schemas}}).validate(answer)


async def test_a_rate_limited_source_gets_retry_after(serve: Serve) -> None:
    server = await serve(rate_limits={"requests_per_s": 0.2, "exempt": []})
    async with httpx.AsyncClient(base_url=server.url) as web:
        document = (await web.get("/openapi.json")).json()
        operations = [
            one
            for path in document["paths"].values()
            for one in path.values()
            if isinstance(one, dict) and "operationId" in one
        ]
        told = document["components"]["responses"]["TooManyRequests"]
        assert all(one["responses"]["429"] == {"$ref": "#/components/responses/TooManyRequests"} for one in operations)
        while (refused := await web.get("/v1/calls")).status_code == 200:
            pass
    assert refused.status_code == 429
    assert set(told["headers"]) == {"Retry-After"}
    assert 1 <= int(refused.headers["retry-after"]) <= 5
    as_said(document, "Problem", refused.json())
