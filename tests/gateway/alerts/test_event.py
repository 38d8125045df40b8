from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.alerts.cloud_event import DATASCHEMA, CloudEvent, envelope
from gateway.alerts.event import AlertRaised, Unknown
from gateway.clock import utc_now
from tests.gateway.alerts.events import alert, call_started


def wire(**changes: Any) -> dict[str, Any]:
    """An alert as it is sent, with other attributes."""
    event = envelope(alert(), event_id="j-1", source="/callscreen/j", time=utc_now(), sequence="000000000001")
    whole: dict[str, Any] = json.loads(event.model_dump_json(exclude_none=True))
    return whole | changes


def read(event: dict[str, Any]) -> CloudEvent:
    return CloudEvent.model_validate_json(json.dumps(event))


def test_data_is_typed_by_the_type_of_the_event() -> None:
    event = read(wire())
    assert event.data == alert()
    assert isinstance(event.data, AlertRaised)


def test_nulls_in_data_are_sent() -> None:
    event = envelope(call_started(), event_id="j-1", source="/callscreen/j", time=utc_now(), sequence=None)
    sent = json.loads(event.model_dump_json(exclude_none=True))
    assert sent["data"]["leg"] is None
    assert sent["data"]["tenant"] is None
    assert "sequence" not in sent


def test_fields_of_a_newer_gateway_are_kept() -> None:
    sent = wire(traceparent="00-1")
    sent["data"] |= {"later": {"a": 1}}
    event = read(sent)
    assert isinstance(event.data, AlertRaised)
    assert event.data.model_extra == {"later": {"a": 1}}
    assert json.loads(event.model_dump_json(exclude_none=True)) == sent


@pytest.mark.parametrize("changes", [{"type": "call.moved"}, {"dataschema": "urn:callscreen:events:v2"}])
def test_unknown_types_and_versions_are_kept_as_they_are(changes: dict[str, str]) -> None:
    sent = wire(**changes)
    event = read(sent)
    assert isinstance(event.data, Unknown)
    assert event.data.model_extra == sent["data"]
    assert json.loads(event.model_dump_json(exclude_none=True)) == sent


@pytest.mark.parametrize(
    ("field", "value"), [("p_synthetic", 1.5), ("stage", "guessed"), ("call_id", None), ("lag_ms", "soon")]
)
def test_data_that_breaks_the_contract_is_refused_by_the_field(field: str, value: object) -> None:
    sent = wire()
    sent["data"] |= {field: value}
    with pytest.raises(ValidationError, match=field):
        read(sent)
    with pytest.raises(ValidationError):
        read({name: value for name, value in wire().items() if name != "type"})


def test_published_events_have_no_unknown_fields() -> None:
    with pytest.raises(ValidationError, match="later"):
        alert(later=1)
    assert DATASCHEMA == "urn:callscreen:events:v1"
