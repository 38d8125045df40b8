"""Thresholds by the false alarms they cost; refused where the data cannot tell."""

from __future__ import annotations

import pytest

from detection.decision.alarms import AlarmRate, AlarmRates
from detection.errors import ModelError


def rates(*per_hour: float, hours: float = 1.5) -> AlarmRates:
    table = [AlarmRate(raise_p=0.6 + place / 10, per_hour=rate, low=0, high=99) for place, rate in enumerate(per_hour)]
    return AlarmRates(hours=hours, channels=("clean",), data_hash="x", rates=tuple(table))


@pytest.mark.parametrize(("per_hour", "raise_p"), [(30, 0.6), (11.9, 0.7), (4, 0.8), (2, 0.9)])
def test_the_lowest_threshold_that_keeps_the_rate_is_chosen(per_hour: float, raise_p: float) -> None:
    assert rates(12, 8, 4, 0).raise_p_for(per_hour) == pytest.approx(raise_p)


def test_threshold_is_not_chosen_when_a_higher_one_has_more_alarms() -> None:
    assert rates(12, 3, 5, 2).raise_p_for(4) == pytest.approx(0.9)


def test_rates_too_low_for_the_measured_hours_are_refused() -> None:
    with pytest.raises(
        ModelError, match=r"at least 2 an hour, which is what 1\.5 h of speech .*rule of three.*got 1\.9"
    ):
        rates(12, 0).raise_p_for(1.9)
    with pytest.raises(ModelError, match="at least 5 an hour, the fewest that were measured; got 3"):
        rates(12, 5).raise_p_for(3)


def test_thresholds_must_rise() -> None:
    with pytest.raises(ValueError, match="rates: expected at least one, by rising raise_p"):
        rates()
    table = rates(2, 1).rates
    with pytest.raises(ValueError, match="rates: expected"):
        AlarmRates(hours=1, channels=("clean",), data_hash="x", rates=table[::-1])
