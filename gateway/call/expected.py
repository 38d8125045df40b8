"""Expected machines: synthetic voices that are allowed, such as IVR prompts and voicemail greetings.  [S]

An operator declares them by leg, role or a parameter of the call, and by time. Scores from there are kept separate from
the evidence on the leg: they lead to ``voice.expected`` and never to an alert, neither then nor later.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.ingest.events import LegDescription, Role, StreamStarted

Seconds = Annotated[float, Field(ge=0.0)]
Word = Annotated[str, Field(min_length=1)]


class ExpectedMachine(BaseModel):
    """Where a machine may speak. All given conditions must be met; at least one of leg, role and parameter is
    required."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    leg: Word | None = Field(None, description="name of the leg", examples=["outbound"])
    role: Role | None = Field(None, description="role of the leg", examples=["callee"])
    parameter: Word | None = Field(None, description="name of a parameter of the peer", examples=["ivr"])
    value: Word | None = Field(None, description="value of that parameter; not set: any", examples=["main"])
    from_s: Seconds = Field(0.0, description="media time of the leg from which a machine is expected, in seconds")
    to_s: Seconds | None = Field(
        None,
        description="media time up to which a machine is expected, in seconds; not set: to the end",
        examples=[12.0],
    )

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if not (self.leg or self.role or self.parameter):
            raise ValueError("expected at least one of leg, role and parameter")
        if self.value and not self.parameter:
            raise ValueError("value: expected a parameter, too")
        if self.to_s is not None and self.to_s <= self.from_s:
            raise ValueError(f"to_s: expected more than from_s ({self.from_s:g}), got {self.to_s:g}")
        return self

    def concerns(self, stream: StreamStarted, leg: LegDescription) -> bool:
        """Whether the declaration applies to `leg` of `stream`."""
        given = None if self.parameter is None else stream.parameters.get(self.parameter)
        return (
            self.leg in (None, leg.leg)
            and self.role in (None, leg.role)
            and (self.parameter is None or given is not None)
            and self.value in (None, given)
        )


class Expectation:
    """The times at which a machine is expected on one leg."""

    def __init__(self, declared: Iterable[ExpectedMachine], stream: StreamStarted, leg: LegDescription) -> None:
        self._spans = [
            (machine.from_s, math.inf if machine.to_s is None else machine.to_s)
            for machine in declared
            if machine.concerns(stream, leg)
        ]

    def covers(self, start_s: float, end_s: float) -> bool:
        """Whether a machine is expected in any part of this time; a window with a part of a prompt is no evidence."""
        return any(start_s < to_s and end_s > from_s for from_s, to_s in self._spans)
