"""The threshold of alerts: from the settings, or from a rate of false alarms."""

from __future__ import annotations

from detection import Fusion
from detection.detector import CardDetector
from detection.errors import ModelError
from gateway.config import Settings
from gateway.errors import ConfigError


def threshold(settings: Settings, model: CardDetector, fusion: Fusion | None) -> float:
    """Return the probability, 0.5 to 1, above which an alert is raised: of the fusion if there is a verifier.

    Raises:
        ConfigError: the model's card cannot guarantee so few false alarms, or has no counts.
    """
    judge = fusion or model
    if settings.alerts_per_hour is None:
        return settings.alert_p or judge.raise_p
    try:
        return judge.raise_p_for(settings.alerts_per_hour)
    except ModelError as error:
        raise ConfigError(f"alerts_per_hour: {error}") from None
