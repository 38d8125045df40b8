"""One log-likelihood ratio for a window, whichever models heard it: logistic fusion of a light model and a verifier.

Which models heard a window differs: the light one hears all, the verifier as many as CPU allows. Each such subset has a
map of its own, for each class of channel (`detection.signal.bandwidth`):

=======================  =============================================================================
heard by                 log-likelihood ratio
=======================  =============================================================================
the light model alone    its calibrated log-odds, as its card says
the verifier alone       its calibrated log-odds, as its card says
both                     ``light_weight * light + verifier_weight * verifier + offset``, of the same two
=======================  =============================================================================

The last one is fitted by logistic regression on windows that neither model was trained on (`detection fuse`), both
classes weighted alike, so 0 is even odds (Brümmer et al., "Fusion of heterogeneous speaker recognition systems in the
STBU submission for the NIST SRE 2006", IEEE TASLP 15(7), 2007). Where such a map costs more on windows held out of its
fit than the verifier by itself, the verifier's log-odds stand for what it heard. Two models of which nobody fitted one
are fused by the mean of their log-odds: too cautious where their errors differ, right where they are the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, FiniteFloat

from detection.decision.alarms import AlarmRates
from detection.decision.calibration import ChannelCalibration, fingerprint
from detection.detector import CardDetector
from detection.errors import ModelError
from detection.strict import Strict, read_strictly

FILE = "fusion.json"
"""Lies beside the model files."""


class FusedModel(Strict):
    """One of the two models: the network, and the calibration that its log-odds went through."""

    name: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """Of the ONNX file."""
    calibration: ChannelCalibration

    @classmethod
    def of(cls, detector: CardDetector) -> Self:
        """Return what tells `detector` from others."""
        card = detector.card
        return cls(name=card.name, sha256=card.sha256, calibration=card.calibration)

    @property
    def known_as(self) -> str:
        """Name with the start of the hash, as events carry it."""
        return f"{self.name}@{self.sha256[:8]}"


class FusionWeights(Strict):
    """``light * l + verifier * v + offset``, of calibrated natural log-odds l and v."""

    light: FiniteFloat
    verifier: FiniteFloat
    offset: FiniteFloat


MEAN = FusionWeights(light=0.5, verifier=0.5, offset=0.0)
"""For models that no map was fitted for."""
VERIFIER_ALONE = FusionWeights(light=0.0, verifier=1.0, offset=0.0)
"""For models that no fitted map of both beats: what the verifier heard is judged by it."""


class Fusion(Strict):
    """How the log-odds of two models become one number, and how much of it raises an alert."""

    format: Literal[1] = 1
    light: FusedModel
    verifier: FusedModel
    wide: FusionWeights
    """Of windows that came through a wide channel and that both models heard."""
    narrow: FusionWeights
    raise_p: float = Field(gt=0.5, lt=1)
    """Rolling probability from which an alert is raised."""
    alarms: AlarmRates | None = None
    """False alarms per hour of the fused decision, every window heard by both; None where they were never counted."""

    @classmethod
    def by_mean(cls, light: CardDetector, verifier: CardDetector) -> Self:
        """Return the mean of both, with the stricter of their thresholds: for models that no map was fitted for."""
        return cls(
            light=FusedModel.of(light),
            verifier=FusedModel.of(verifier),
            wide=MEAN,
            narrow=MEAN,
            raise_p=max(light.raise_p, verifier.raise_p),
        )

    def llr(self, light: float, verifier: float | None, narrow: bool) -> float:
        """Return the natural log-likelihood ratio 'synthetic' to 'human' of a window.

        Args:
            light: calibrated log-odds of the light model.
            verifier: calibrated log-odds of the verifier; None: it has not scored this window.
            narrow: whether it came through a narrow channel.
        """
        if verifier is None:
            return light
        weights = self.narrow if narrow else self.wide
        return weights.light * light + weights.verifier * verifier + weights.offset

    @property
    def calibration_id(self) -> str:
        """Which calibrations, and which map of both, its log-likelihood ratios come of."""
        return fingerprint(self.light.calibration, self.verifier.calibration, self.wide, self.narrow)

    def raise_p_for(self, alerts_per_hour: float) -> float:
        """Return the lowest threshold at which no more false alarms are expected per hour of genuine speech.

        Raises:
            ModelError: they were never counted, or fewer are asked for than the hours counted can show.
        """
        if self.alarms is None:
            pair = f"{self.light.known_as} with {self.verifier.known_as}"
            raise ModelError(f"{pair}: their false alarms were never counted (`detection fuse` does)")
        return self.alarms.raise_p_for(alerts_per_hour)

    def why_not_for(self, light: CardDetector, verifier: CardDetector) -> str | None:
        """Return why this is no map for these two models; None if it is one."""
        for role, fitted, given in (("light", self.light, light), ("verifier", self.verifier, verifier)):
            now = FusedModel.of(given)
            if fitted.sha256 != now.sha256:
                return f"{role}: fitted for {fitted.known_as}, not for {now.known_as}"
            if fitted.calibration != now.calibration:
                return f"{role}: fitted for {fitted.known_as} with another calibration than its card has now"
        return None


def open_fusion(light: CardDetector, verifier: CardDetector) -> tuple[Fusion, str | None]:
    """Return the fusion of two models: the file `FILE` beside the light one, or beside the verifier, else their mean.

    The second is one line that says why it is the mean; None where a map was fitted for these models.

    Raises:
        ModelError: a file with a missing, unknown or wrong field.
    """
    folders = dict.fromkeys(one.folder for one in (light, verifier) if one.folder)
    file = next((folder / FILE for folder in folders if (folder / FILE).is_file()), None)
    if file is None:
        reason = f"no {FILE} beside {light.name} or {verifier.name}"
    else:
        fusion = read_fusion(file)
        refusal = fusion.why_not_for(light, verifier)
        if refusal is None:
            return fusion, None
        reason = f"{file}: {refusal}"
    return Fusion.by_mean(light, verifier), f"{reason}; the mean of both models' log-odds is taken"


def read_fusion(file: Path) -> Fusion:
    """Read a fusion strictly; raise `ModelError` naming the first field that is wrong."""
    return read_strictly(Fusion, file)
