"""JSON Schemas (draft 2020-12) of the events.  [S]

They are for readers: whatever the contract may add within its version, further properties above all, is valid.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

from pydantic import BaseModel

from gateway.alerts.cloud_event import DATASCHEMA, CloudEvent
from gateway.alerts.event import EVENT_TYPES, Contract

Schema = dict[str, Any]
"""A JSON Schema as Python's `json` reads it."""
DIALECT = "https://json-schema.org/draft/2020-12/schema"
OPTIONAL = ("subject", "sequence", "cursor")
"""Attributes of the envelope that some events lack."""


def described(text: str) -> str:
    """Return a docstring as Markdown: the lines of a paragraph or list item joined, one backtick for two."""
    lines = re.sub(r"(?<!\n)\n(?!\s*- |\n)\s*", " ", inspect.cleandoc(text))
    return lines.replace("``", "`")


def model_schema(model: type[BaseModel]) -> Schema:
    """Return the schema of a model's JSON, as its readers see it."""
    schema: Schema = _for_readers(
        model.model_json_schema(mode="validation", ref_template="#/components/schemas/{model}")
    )
    return schema | {"title": model.__name__}


def event_schema(kind: type[Contract]) -> Schema:
    """Return the schema of the whole event whose `data` is a `kind`, one of the keys of `EVENT_TYPES`."""
    envelope = model_schema(CloudEvent)
    data = model_schema(kind)
    properties = envelope["properties"] | {
        "type": {"const": EVENT_TYPES[kind], "type": "string", "description": "What `data` holds."},
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
    """Return `event_schema` as a document of its own, with its id."""
    return {"$schema": DIALECT, "$id": f"{DATASCHEMA}:{EVENT_TYPES[kind]}"} | event_schema(kind)


def _for_readers(schema: Any) -> Any:
    """Leave out what pydantic says for writers, or of Python alone."""
    if isinstance(schema, list):
        return [_for_readers(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: value for name, value in schema.items() if name not in ("title", "additionalProperties", "default")}
    if isinstance(schema.get("additionalProperties"), dict):
        kept["additionalProperties"] = _for_readers(schema["additionalProperties"])
    if isinstance(schema.get("description"), str):
        kept["description"] = described(schema["description"])
    return {
        name: {key: _for_readers(one) for key, one in value.items()}  # names of fields, not of keywords
        if name in ("properties", "$defs")
        else _for_readers(value)
        for name, value in kept.items()
    }
