"""From which probability an alert is raised: as the settings say, or as the models say that it may cost."""

from __future__ import annotations

from detection import Fusion
from detection.detector import CardDetector
from detection.errors import ModelError
from gateway.config import Settings
from gateway.errors import ConfigError


def threshold(settings: Settings, model: CardDetector, fusion: Fusion | None) -> float:
    """Return the probability, 0.5 to 1, that the settings come to: of the fusion where there is a verifier.

    Raises:
        ConfigError: counts that cannot promise so few false alarms, or none.
    """
    judge = fusion or model
    if settings.alerts_per_hour is None:
        return settings.alert_p or judge.raise_p
    try:
        return judge.raise_p_for(settings.alerts_per_hour)
    except ModelError as error:
        raise ConfigError(f"alerts_per_hour: {error}") from None
