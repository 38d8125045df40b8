"""The envelope of an event: CloudEvents 1.0 in JSON, one event per message.  [S]

The contract has one version, in `dataschema`. Within a version nothing is removed or renamed, and no field changes its
type, unit or meaning; optional fields and event types may be added.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, cast

from pydantic import ConfigDict, PlainValidator, ValidationInfo, field_serializer

from gateway.alerts.event import EVENT_TYPES, AnyData, Contract, EventData, Gap, Heartbeat, Unknown

SUBPROTOCOL = "cloudevents.json"
"""CloudEvents WebSocket binding 1.0, section 3: structured mode, JSON."""
VERSION = "1"
"""Version of the contract."""
DATASCHEMA = f"urn:callscreen:events:v{VERSION}"


_KINDS = {name: kind for kind, name in EVENT_TYPES.items()}


def _read_data(value: Any, event: ValidationInfo) -> Contract:
    """Parse `data` by the event's type. Fields added by a newer gateway are kept (`model_extra`)."""
    if isinstance(value, Contract):
        return value
    is_known = event.data.get("dataschema") == DATASCHEMA
    kind = _KINDS.get(event.data.get("type", ""), Unknown) if is_known else Unknown
    return kind.model_validate(value, extra="allow")


class CloudEvent(Contract):
    """The envelope (CloudEvents 1.0, JSON format). Additional attributes are kept, as CloudEvents extensions."""

    model_config = ConfigDict(extra="allow")

    specversion: Literal["1.0"] = "1.0"
    """Version of CloudEvents."""
    id: str
    """The cursor: unique per `source`, the same on redelivery; pass it as `last_event_id` to resume."""
    source: str
    """``/callscreen/`` and the journal's id."""
    type: str
    """Event type; it determines the fields of `data`."""
    subject: str | None = None
    """``call_id/leg``, or the call alone, for routers that do not read `data`."""
    time: datetime
    """When the event was made: RFC 3339, UTC."""
    datacontenttype: Literal["application/json"] = "application/json"
    """Media type of `data`."""
    dataschema: str = DATASCHEMA
    """Version of the contract that `data` follows."""
    sequence: str | None = None
    """Zero-padded counter of stored events (CloudEvents sequence extension); absent in `gap` and `heartbeat`."""
    cursor: str | None = None
    """Only with ``scope=all``: the position in the shared stream; pass it instead of `id` to resume."""
    data: Annotated[AnyData, PlainValidator(_read_data, json_schema_input_type=dict[str, Any])]
    """The fields of the event type."""

    @field_serializer("data")
    def _write_data(self, data: Contract) -> dict[str, Any]:
        return data.model_dump(mode="json") | (data.model_extra or {})


def envelope(
    data: EventData | Gap | Heartbeat, *, event_id: str, source: str, time: datetime, sequence: str | None
) -> CloudEvent:
    """Wrap `data` (one of the keys of `EVENT_TYPES`) in its CloudEvent."""
    call_id, leg = getattr(data, "call_id", None), getattr(data, "leg", None)
    return CloudEvent(
        id=event_id,
        source=source,
        type=EVENT_TYPES[type(data)],
        subject="/".join(part for part in (call_id, leg) if part) or None,
        time=time,
        sequence=sequence,
        data=cast("AnyData", data),
    )
