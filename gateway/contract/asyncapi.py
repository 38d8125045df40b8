"""The AsyncAPI 3 document of the event websocket.  [S]

Source: AsyncAPI 3.0.0, https://www.asyncapi.com/docs/reference/specification/v3.0.0, and its WebSockets binding 0.1.0.
"""

from __future__ import annotations

from typing import Any

from gateway import paths
from gateway.alerts.cloud_event import SUBPROTOCOL, VERSION
from gateway.alerts.event import EVENT_TYPES, STORED_TYPES
from gateway.contract.schemas import event_schema

DESCRIPTION = """\
Every message is one event: a CloudEvent 1.0 in JSON; `type` determines `data`. Only the gateway sends; a message from \
the subscriber closes the connection with code 4400.

Within this version nothing is removed or renamed, and no field changes its type, unit or meaning. Optional fields, \
event types, and values of fields that are not an enumeration may be added: ignore what you do not know.

Delivery is at least once and in order. Store the `id` of the last event processed, and pass it as `last_event_id`: \
later events are sent first. A `gap` event reports that some of them were deleted. Close codes: 1001 the gateway is \
going away, 1013 the stream of all gateways cannot be read now, 4400 a bad parameter or a message, 4401 the token is \
missing, wrong or expired, 4403 not allowed, 4430 the subscriber reads too slowly; it can resume.
"""
QUERY: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "call_id": {"type": "string", "description": "Only events of this call."},
        "leg": {"type": "string", "description": "Only events of this leg."},
        "type": {
            "type": "array",
            "items": {"type": "string", "enum": list(STORED_TYPES)},
            "description": "Only events of these types: repeated, or separated by commas. Without it all but `score`.",
        },
        "last_event_id": {
            "type": "string",
            "description": "The `id` of the last event processed; with `scope=all` its `cursor`.",
        },
        "scope": {
            "enum": ["own", "all"],
            "default": "own",
            "description": "Events of this gateway, or of all gateways that share a NATS stream.",
        },
        "token": {"type": "string", "description": "The bearer token, for clients that cannot set headers."},
    },
}


def asyncapi() -> dict[str, Any]:
    """Return the document."""
    types = list(EVENT_TYPES.values())
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "callscreen events",
            "version": VERSION,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/cloudevents+json",
        "servers": {
            "gateway": {
                "host": "127.0.0.1:8080",
                "protocol": "ws",
                "description": "A gateway with the default settings; `wss` behind TLS.",
                "security": [{"$ref": "#/components/securitySchemes/bearer"}],
            }
        },
        "channels": {
            "events": {
                "address": paths.EVENTS,
                "description": f"A websocket with the subprotocol `{SUBPROTOCOL}`.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in types},
                "bindings": {"ws": {"method": "GET", "query": QUERY, "bindingVersion": "0.1.0"}},
            }
        },
        "operations": {
            "sendEvents": {
                "action": "send",
                "channel": {"$ref": "#/channels/events"},
                "summary": "The gateway sends events to a subscriber.",
                "messages": [{"$ref": f"#/channels/events/messages/{name}"} for name in types],
            }
        },
        "components": {
            "messages": {
                name: {
                    "name": name,
                    "title": name,
                    "summary": schema["description"].partition("\n")[0],
                    "payload": {"$ref": f"#/components/schemas/{name}"},
                }
                for name, schema in _schemas().items()
            },
            "schemas": _schemas(),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": "If a token is set."}},
        },
    }


def _schemas() -> dict[str, Any]:
    return {name: event_schema(kind) for kind, name in EVENT_TYPES.items()}
