"""The policy in force, and its result for one leg.  [S]"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from prometheus_client import Gauge

from detection import Policy
from gateway.ingest.events import LegDescription, StreamStarted
from gateway.policy import Loaded, facts_of

IN_FORCE = Gauge("callscreen_policy", "1 for the policy in force.", ["version"])


@dataclass(frozen=True, slots=True)
class ModelRules:
    """The rule and calibration of the light model alone, or of its fusion with the verifier, before any policy."""

    rules: Policy
    calibration: str | None
    """Id of the calibration of the raw output."""


@dataclass(frozen=True, slots=True)
class LegPolicy:
    """The values for one leg, from its start to its end."""

    rules: Policy
    calibration: str | None
    verifier: bool
    """Whether the verifier scores it."""
    screen: bool
    """Whether it is scored at all."""
    version: str | None
    """Version of the policy file; None: there is none."""


class Policies:
    """Determines the values for a leg that starts now; running legs keep theirs."""

    def __init__(self, alone: ModelRules, fused: ModelRules | None, loaded: Loaded | None = None) -> None:
        """Start with the light model, its fusion if there is a verifier, and the policy file if there is one.

        Raises:
            ConfigError: see `use`.
        """
        self._alone, self._fused = alone, fused
        self._loaded: Loaded | None = None
        if loaded is not None:
            self.use(loaded)

    @property
    def usual(self) -> ModelRules:
        """What applies unless the policy sets something else."""
        return self._fused or self._alone

    @property
    def version(self) -> str | None:
        """Version of the policy file in force; None: there is none."""
        return self._loaded.version if self._loaded else None

    def use(self, loaded: Loaded) -> None:
        """Put a policy in force, for legs that start from now on.

        Raises:
            ConfigError: its thresholds contradict those of the settings or the models; the old policy stays in force.
        """
        engine = [scoring.rules for scoring in (self._alone, self._fused) if scoring]
        loaded.policy.check_thresholds(min(one.raise_p for one in engine), max(one.clear_p for one in engine))
        self._loaded = loaded

    def publish(self) -> None:
        """Set the metric to the policy in force."""
        IN_FORCE.clear()
        if self._loaded is not None:
            IN_FORCE.labels(self._loaded.version).set(1)

    def for_leg(self, stream: StreamStarted, leg: LegDescription) -> LegPolicy:
        """Return the values for a leg that starts now."""
        if self._loaded is None:
            scoring = self.usual
            return LegPolicy(scoring.rules, scoring.calibration, self._fused is not None, screen=True, version=None)
        resolved = self._loaded.policy.resolve(facts_of(stream, leg))
        given: dict[str, Any] = {key: one.value for key, one in resolved.items()}
        screen = given.pop("screen", True)
        scoring = (self._fused if given.pop("verifier", True) else None) or self._alone
        if "alert_p" in given:
            given["raise_p"] = given.pop("alert_p")
        rules = dataclasses.replace(scoring.rules, **given)
        return LegPolicy(rules, scoring.calibration, scoring is self._fused, screen, self._loaded.version)
