"""Ends the calls that were live when a gateway crashed.  [S]"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gateway.alerts.cloud_event import CloudEvent
from gateway.alerts.event import CallEnded, CallStarted, EventData, LegEnded, LegStarted

RESTARTED = "gateway_restarted"


def endings(started: Iterable[CloudEvent]) -> Iterator[EventData]:
    """Yield the end events that were never published, legs before their calls.

    Args:
        started: the ``call.started`` and ``leg.started`` events without an end. Their legs end `indeterminate`.
    """
    verdicts: dict[str, dict[str, str]] = {}
    tenants: dict[str, str | None] = {}
    for event in started:
        data = event.data
        if not isinstance(data, CallStarted | LegStarted):
            continue
        tenants[data.call_id] = data.tenant
        legs = verdicts.setdefault(data.call_id, {})
        if isinstance(data, LegStarted):
            legs[data.leg] = "indeterminate"
            unknown = dict.fromkeys(
                ("audio_s", "missing_s", "windows_scored", "windows_skipped", "windows_crosstalk", "alerts")
            )
            ending = _unknown(data.call_id, data.leg, data.role, data.tenant) | {"speaker": data.speaker}
            yield LegEnded.model_validate(ending | unknown | {"verdict": "indeterminate", "ended_by": RESTARTED})
    for call_id, legs in verdicts.items():
        yield CallEnded.model_validate(_unknown(call_id, None, None, tenants[call_id]) | {"verdicts": legs})


def _unknown(call_id: str, leg: str | None, role: str | None, tenant: str | None) -> dict[str, object]:
    nothing: dict[str, object] = dict.fromkeys(("speaker", "media_time_s", "p_synthetic", "speech_s", "model"))
    return nothing | {"call_id": call_id, "leg": leg, "role": role, "tenant": tenant, "reason": RESTARTED}
