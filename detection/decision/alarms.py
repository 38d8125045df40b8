"""Measured false alarms: alerts on human voices per hour of speech, by threshold."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, PositiveFloat, model_validator

from detection.errors import ModelError

RULE_OF_THREE = 3.0
"""No alarm in n hours is consistent with rates up to 3 / n per hour, at 95 % (Hanley, Lippman-Hand, JAMA 1983)."""


class AlarmRate(BaseModel):
    """The false alarms at one threshold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    raise_p: PositiveFloat
    per_hour: NonNegativeFloat
    """Alerts on human voices per hour of speech, through the measured channel with the most."""
    low: NonNegativeFloat
    high: NonNegativeFloat
    """95 % interval, by bootstrap over sources; `high` is not below the `RULE_OF_THREE` limit."""


class AlarmRates(BaseModel):
    """False alarms at rising thresholds, on speakers used neither for training nor for calibration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hours: PositiveFloat
    """Human speech scored. Speech that was sent through several channels counts once, by the channel with the least."""
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
            ModelError: the rate is lower than the measured hours can show, or than any measured threshold reaches.
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
