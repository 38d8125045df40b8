"""From which probability each model raises an alert: as the settings say, or as its card says that it may cost."""

from __future__ import annotations

from dataclasses import dataclass

from detection.detector import CardDetector
from detection.errors import ModelError
from gateway.config import Settings
from gateway.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Probabilities, 0.5 to 1."""

    model: float
    verifier: float | None
    """None: no verifier."""


def thresholds(settings: Settings, model: CardDetector, verifier: CardDetector | None) -> Thresholds:
    """Return what the settings come to with these models.

    Both models raise alerts, so where there is a verifier each may cost half of `alerts_per_hour`; `verifier_p` is
    taken as it is.

    Raises:
        ConfigError: a card whose counts cannot promise so few false alarms, or that has none.
    """
    verifier_p = None if verifier is None else settings.verifier_p or _raise_p(settings, verifier, 2)
    return Thresholds(settings.alert_p or _raise_p(settings, model, 1 if verifier is None else 2), verifier_p)


def _raise_p(settings: Settings, detector: CardDetector, sharers: int) -> float:
    """Return the threshold of one of so many models that share `alerts_per_hour`; its card's where that isn't set."""
    if settings.alerts_per_hour is None:
        return detector.raise_p
    try:
        return detector.raise_p_for(settings.alerts_per_hour / sharers)
    except ModelError as error:
        whole = f"{settings.alerts_per_hour:g}"
        share = f" (for {detector.name}: half of {whole}, which model and verifier share)" if sharers > 1 else ""
        raise ConfigError(f"alerts_per_hour: {error}{share}") from None
