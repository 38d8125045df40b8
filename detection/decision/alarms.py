"""How often a person is taken for a machine: alerts per hour of genuine speech, by threshold, as measured."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, PositiveFloat, model_validator

from detection.errors import ModelError

RULE_OF_THREE = 3.0
"""No alarm in n hours leaves rates up to 3 / n per hour possible, at 95 % (Hanley and Lippman-Hand, JAMA 1983)."""


class AlarmRate(BaseModel):
    """What one threshold costs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    raise_p: PositiveFloat
    per_hour: NonNegativeFloat
    """Alerts on people per hour of their speech, through that of the channels measured where there are most."""
    low: NonNegativeFloat
    high: NonNegativeFloat
    """95 % interval, over sources drawn with replacement; not below what `RULE_OF_THREE` says."""


class AlarmRates(BaseModel):
    """Alerts on people whom neither training nor calibration heard, at rising thresholds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hours: PositiveFloat
    """Genuine speech that was listened to; heard through several channels, it counts once, by the one with least."""
    channels: tuple[str, ...]
    data_hash: str
    """`detection.training.data.data_hash` of the clips."""
    rates: tuple[AlarmRate, ...]

    @model_validator(mode="after")
    def _rising(self) -> Self:
        thresholds = [rate.raise_p for rate in self.rates]
        if not thresholds or thresholds != sorted(set(thresholds)):
            raise ValueError("rates: expected at least one, by rising raise_p")
        return self

    def raise_p_for(self, per_hour: float) -> float:
        """Return the lowest threshold at which at most `per_hour` false alarms are expected.

        Raises:
            ModelError: less than the hours measured can show, or than any threshold measured reaches.
        """
        least = RULE_OF_THREE / self.hours
        if per_hour < least:
            raise ModelError(
                f"expected at least {least:.2g} an hour, which is what {self.hours:.2g} h of speech can show (rule of "
                f"three); got {per_hour:g}"
            )
        for place, rate in enumerate(self.rates):
            if all(higher.per_hour <= per_hour for higher in self.rates[place:]):
                return rate.raise_p
        fewest = self.rates[-1].per_hour
        raise ModelError(f"expected at least {fewest:.2g} an hour, the fewest that were measured; got {per_hour:g}")
