"""The committed documents are those that the models make, are valid, and hold for events of the past."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.applications import Starlette
from starlette.routing import Route

from gateway import pages, paths
from gateway.alerts.cloud_event import CloudEvent
from gateway.alerts.event import EVENT_TYPES
from gateway.contract.__main__ import FOLDER
from gateway.contract.asyncapi import asyncapi
from gateway.contract.documents import PATHS, documents, files
from gateway.contract.openapi import openapi
from gateway.contract.schemas import described, event_document
from gateway.http import web
from tests.conftest import REPOSITORY
from tests.gateway.conftest import Serve

GOLDENS = sorted((Path(__file__).parent / "v1").glob("*.json"))
"""Events that gateways have sent. They are added to and never changed: version 1 means that they stay valid."""
ASYNCAPI_3 = Path(__file__).parent / "asyncapi-3.0.0.json"


def test_committed_documents_are_those_of_the_models() -> None:
    committed = {file.name: file.read_text(encoding="utf-8") for file in (REPOSITORY / FOLDER).iterdir()}
    assert committed == files(), "run `python -m gateway.contract` and commit docs/reference/contract"


@pytest.mark.parametrize("kind", EVENT_TYPES, ids=EVENT_TYPES.values())
def test_schemas_describe_every_field(kind: Any) -> None:
    document = event_document(kind)
    Draft202012Validator.check_schema(document)
    for fields in (document["properties"], document["properties"]["data"]["properties"]):
        assert [name for name, field in fields.items() if not field.get("description")] == []


def test_asyncapi_is_valid() -> None:
    validator = Draft7Validator(json.loads(ASYNCAPI_3.read_text()))
    document = asyncapi()
    assert [error.message for error in validator.iter_errors(document)] == []
    document["operations"]["sendEvents"]["action"] = "shout"
    assert not validator.is_valid(document)


def test_references_within_asyncapi_lead_somewhere() -> None:
    document = asyncapi()

    def look(part: Any) -> None:
        if isinstance(part, dict) and "$ref" in part:
            target = document
            for name in part["$ref"].removeprefix("#/").split("/"):
                target = target[name]
        for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            look(inner)

    look(document)


def test_openapi_is_valid() -> None:
    document = openapi()
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []
    del document["paths"][paths.CALLS]["get"]["responses"]["200"]["description"]
    assert list(OpenAPIV31SpecValidator(document).iter_errors())


async def test_openapi_tells_of_every_route(serve: Serve) -> None:
    server = await serve()
    assert isinstance(server.app, Starlette)
    served = {
        route.path
        for route in server.app.routes
        if isinstance(route, Route) and route.endpoint is not web._upgrade and not route.path.endswith("/")
    }
    told = openapi()["paths"].keys()
    schemas = {path for path in PATHS if path.startswith(paths.SCHEMAS + "/")}
    assert served - set(pages.FILES) - schemas == told - {paths.SCHEMAS + "/{type}"}


async def test_documents_are_served_to_everybody(serve: Serve) -> None:
    server = await serve(token="t")
    async with httpx.AsyncClient(base_url=server.url) as web:
        for path, document in documents().items():
            answer = await web.get(path)
            assert (answer.status_code, answer.text) == (200, document.text)
            assert answer.headers["content-type"] == document.media_type
        for path in json.loads((await web.get(paths.SCHEMAS)).text)["schemas"].values():
            assert path in PATHS
        assert (await web.get(paths.SCHEMAS + "/none", headers={"Authorization": "Bearer t"})).status_code == 404


def test_there_is_a_golden_event_of_every_type() -> None:
    assert {json.loads(file.read_text())["type"] for file in GOLDENS} == set(EVENT_TYPES.values())


@pytest.mark.parametrize("file", GOLDENS, ids=lambda file: file.stem)
def test_golden_events_stay_valid_and_readable(file: Path) -> None:
    golden = json.loads(file.read_text())
    (kind,) = (kind for kind, name in EVENT_TYPES.items() if name == golden["type"])
    checker = Draft202012Validator.FORMAT_CHECKER
    Draft202012Validator(event_document(kind), format_checker=checker).validate(golden)
    event = CloudEvent.model_validate(golden)
    data = kind.model_validate(golden["data"])
    written = json.loads(event.model_dump_json(exclude_none=True))
    newer = written["data"].keys() - golden["data"].keys()  # optional fields, with their defaults
    assert {name: written["data"].pop(name) for name in newer} == {
        name: kind.model_fields[name].default for name in newer
    }
    assert written == golden
    assert type(event.data) is kind
    assert data.model_dump(mode="json", exclude_unset=True) == golden["data"]


def test_descriptions_are_markdown() -> None:
    assert described("One\n    line of ``code``.\n\n    - an item,\n      continued\n    - another\n    ") == (
        "One line of `code`.\n\n- an item, continued\n- another"
    )
