"""JSON Schemas (draft 2020-12) of the events.  [S]

They are for consumers: additions that are allowed within a version, especially new properties, are valid.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

from pydantic import BaseModel

from gateway.alerts.cloud_event import DATASCHEMA, CloudEvent
from gateway.alerts.event import EVENT_TYPES, Contract

Schema = dict[str, Any]
"""A JSON Schema as parsed JSON."""
DIALECT = "https://json-schema.org/draft/2020-12/schema"
OPTIONAL = ("subject", "sequence", "cursor")
"""Attributes of the envelope that are not always present."""


def described(text: str) -> str:
    """Return a docstring as Markdown: lines of a paragraph or list item are joined, double backticks become single."""
    lines = re.sub(r"(?<!\n)\n(?!\s*- |\n)\s*", " ", inspect.cleandoc(text))
    return lines.replace("``", "`")


def model_schema(model: type[BaseModel]) -> Schema:
    """Return the schema of a model's JSON for consumers."""
    schema: Schema = _for_consumers(
        model.model_json_schema(mode="validation", ref_template="#/components/schemas/{model}")
    )
    return schema | {"title": model.__name__}


def event_schema(kind: type[Contract]) -> Schema:
    """Return the schema of a whole event whose `data` is a `kind`, one of the keys of `EVENT_TYPES`."""
    envelope = model_schema(CloudEvent)
    data = model_schema(kind)
    properties = envelope["properties"] | {
        "type": {
            "const": EVENT_TYPES[kind],
            "type": "string",
            "description": "Event type; it determines the fields of `data`.",
        },
        "dataschema": envelope["properties"]["dataschema"] | {"const": DATASCHEMA},
        "data": data,
    }
    return {
        "title": EVENT_TYPES[kind],
        "description": data["description"],
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in OPTIONAL],
    }


def event_document(kind: type[Contract]) -> Schema:
    """Return `event_schema` as a document with an id."""
    return {"$schema": DIALECT, "$id": f"{DATASCHEMA}:{EVENT_TYPES[kind]}"} | event_schema(kind)


def _for_consumers(schema: Any) -> Any:
    """Remove what concerns only producers or Python."""
    if isinstance(schema, list):
        return [_for_consumers(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: value for name, value in schema.items() if name not in ("title", "additionalProperties", "default")}
    if isinstance(schema.get("additionalProperties"), dict):
        kept["additionalProperties"] = _for_consumers(schema["additionalProperties"])
    if isinstance(schema.get("description"), str):
        kept["description"] = described(schema["description"])
    return {
        name: {key: _for_consumers(one) for key, one in value.items()}  # keys are names of fields here, not keywords
        if name in ("properties", "$defs")
        else _for_consumers(value)
        for name, value in kept.items()
    }
