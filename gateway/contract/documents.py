"""The contract's documents, as they are served and committed.  [S]"""

from __future__ import annotations

import functools
import json
from typing import Any, NamedTuple

from gateway import paths
from gateway.alerts.event import EVENT_TYPES
from gateway.contract.asyncapi import asyncapi
from gateway.contract.openapi import openapi
from gateway.contract.schemas import event_document

JSON = "application/json"
SCHEMA = "application/schema+json"
PATHS = (paths.ASYNCAPI, paths.OPENAPI, paths.SCHEMAS, *(f"{paths.SCHEMAS}/{name}" for name in EVENT_TYPES.values()))
"""Paths at which they are served."""


class Document(NamedTuple):
    """A document and its media type."""

    media_type: str
    text: str


@functools.cache
def documents() -> dict[str, Document]:
    """Return all documents by path, those of `PATHS`. The first call takes some tenths of a second."""
    schemas = {name: f"{paths.SCHEMAS}/{name}" for name in EVENT_TYPES.values()}
    return {
        paths.ASYNCAPI: Document(JSON, _text(asyncapi())),
        paths.OPENAPI: Document(JSON, _text(openapi())),
        paths.SCHEMAS: Document(JSON, _text({"schemas": schemas})),
    } | {schemas[name]: Document(SCHEMA, _text(event_document(kind))) for kind, name in EVENT_TYPES.items()}


def files() -> dict[str, str]:
    """Return the text of each committed file, by its name in ``docs/reference/contract``."""
    return {
        (path.removeprefix(f"{paths.SCHEMAS}/").lstrip("/") + (".schema.json" if kind == SCHEMA else "")): text
        for path, (kind, text) in documents().items()
        if path != paths.SCHEMAS
    }


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
