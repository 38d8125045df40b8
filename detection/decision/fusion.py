"""Score fusion: one log-likelihood ratio for a window, from the light model and, where it has scored it, the verifier.

The light model scores every window; the verifier scores as many as its share of the CPU allows. There is one map for
each of the two cases, and for each channel class (`detection.signal.bandwidth`):

| scored by             | log-likelihood ratio                                                                     |
|-----------------------|------------------------------------------------------------------------------------------|
| the light model alone | its calibrated log-odds                                                                  |
| both                  | ``light_weight * light + verifier_weight * verifier + offset``, of calibrated log-odds   |

The weights are fitted by logistic regression on windows that neither model was trained on (`callscreen detect fuse`).
Both classes have equal weight, so 0 means even odds (Brümmer et al., "Fusion of heterogeneous speaker recognition
systems in the STBU submission for the NIST SRE 2006", IEEE TASLP 15(7), 2007). If the fitted map has a higher cost on
held-out windows than the verifier's log-odds alone, the verifier's log-odds are used instead. Two models without a
fitted map are fused by the mean of their log-odds. That is too cautious where their errors are independent, and right
where their errors are the same.
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
"""Name of the file, in the folder of the model files."""


class FusedModel(Strict):
    """One of the two models: the network, and the calibration of its log-odds at the time of the fit."""

    name: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """Of the ONNX file."""
    calibration: ChannelCalibration

    @classmethod
    def of(cls, detector: CardDetector) -> Self:
        """Return the identity of `detector`."""
        card = detector.card
        return cls(name=card.name, sha256=card.sha256, calibration=card.calibration)

    @property
    def full_name(self) -> str:
        """Name with the start of the hash, as in events."""
        return f"{self.name}@{self.sha256[:8]}"


class FusionWeights(Strict):
    """``light * l + verifier * v + offset``, for calibrated natural log-odds l and v."""

    light: FiniteFloat
    verifier: FiniteFloat
    offset: FiniteFloat


MEAN = FusionWeights(light=0.5, verifier=0.5, offset=0.0)
"""For pairs of models without a fitted map."""
VERIFIER_ALONE = FusionWeights(light=0.0, verifier=1.0, offset=0.0)
"""For pairs of models whose fitted map is no better than the verifier alone."""


class Fusion(Strict):
    """How the log-odds of two models become one number, and the threshold for it."""

    format: Literal[1] = 1
    light: FusedModel
    verifier: FusedModel
    wide: FusionWeights
    """For wide-band windows that both models scored."""
    narrow: FusionWeights
    raise_p: float = Field(gt=0.5, lt=1)
    """Rolling probability from which an alert is raised."""
    alarms: AlarmRates | None = None
    """False alarms per hour of the fused decision, with every window scored by both; None if never measured."""

    @classmethod
    def by_mean(cls, light: CardDetector, verifier: CardDetector) -> Self:
        """Return the mean of both, with the higher of their thresholds: for models without a fitted map."""
        return cls(
            light=FusedModel.of(light),
            verifier=FusedModel.of(verifier),
            wide=MEAN,
            narrow=MEAN,
            raise_p=max(light.raise_p, verifier.raise_p),
        )

    def llr(self, light: float, verifier: float | None, narrow: bool) -> float:
        """Return the natural log-likelihood ratio of a window; positive means synthetic.

        Args:
            light: calibrated log-odds of the light model.
            verifier: calibrated log-odds of the verifier; None if it has not scored this window.
            narrow: whether the window came through a narrow channel.
        """
        if verifier is None:
            return light
        weights = self.narrow if narrow else self.wide
        return weights.light * light + weights.verifier * verifier + weights.offset

    @property
    def calibration_id(self) -> str:
        """Fingerprint of both calibrations and of the map of both."""
        return fingerprint(self.light.calibration, self.verifier.calibration, self.wide, self.narrow)

    def raise_p_for(self, alerts_per_hour: float) -> float:
        """Return the lowest threshold with at most `alerts_per_hour` false alarms expected per hour of human speech.

        Raises:
            ModelError: they were never measured, or the measurement is too short to show so low a rate.
        """
        if self.alarms is None:
            pair = f"{self.light.full_name} with {self.verifier.full_name}"
            raise ModelError(f"{pair}: no measured false alarms (`callscreen detect fuse` measures them)")
        return self.alarms.raise_p_for(alerts_per_hour)

    def mismatch(self, light: CardDetector, verifier: CardDetector) -> str | None:
        """Return why this fusion does not belong to these two models; None if it does."""
        for role, fitted, given in (("light", self.light, light), ("verifier", self.verifier, verifier)):
            now = FusedModel.of(given)
            if fitted.sha256 != now.sha256:
                return f"{role}: fitted for {fitted.full_name}, not for {now.full_name}"
            if fitted.calibration != now.calibration:
                return f"{role}: fitted for {fitted.full_name} with another calibration than its card has now"
        return None


def open_fusion(light: CardDetector, verifier: CardDetector) -> tuple[Fusion, str | None]:
    """Return the fusion of two models: `FILE` beside the light model, else beside the verifier, else their mean.

    The second value is one line with the reason why the mean is used; None if a fitted map was found.

    Raises:
        ModelError: a file with a missing, unknown or wrong field.
    """
    folders = dict.fromkeys(one.folder for one in (light, verifier) if one.folder)
    file = next((folder / FILE for folder in folders if (folder / FILE).is_file()), None)
    if file is None:
        reason = f"no {FILE} beside {light.name} or {verifier.name}"
    else:
        fusion = read_fusion(file)
        refusal = fusion.mismatch(light, verifier)
        if refusal is None:
            return fusion, None
        reason = f"{file}: {refusal}"
    return Fusion.by_mean(light, verifier), f"{reason}; using the mean of both models' log-odds"


def read_fusion(file: Path) -> Fusion:
    """Read a fusion strictly; raise `ModelError` naming the first field that is wrong."""
    return read_strictly(Fusion, file)
