"""Detects synthetic voices. Works on audio and numbers; knows no calls, sockets or clocks.

The steps for one leg: `Windower` cuts its audio into windows and `Activity` finds the speech; a `Frontend` of the
`Detector` turns each `Window` into model input; `Detector.score` returns log-odds; `Decider` turns them into alert
transitions (`Change`) and the `Verdict`. `Coverage` cuts the same speech for the larger model, the verifier, and
`Fusion` combines the log-odds of both models.
"""

from __future__ import annotations

from detection.decision.coverage import Coverage, VerifierWindow
from detection.decision.fusion import Fusion, open_fusion
from detection.decision.rule import (
    AlertState,
    Change,
    Decider,
    Outcome,
    Policy,
    Verdict,
    Verification,
    VerificationOutcome,
)
from detection.detector import DEFAULT_MODEL, VERIFIER, Detector, Frontend, open_detector
from detection.errors import AudioError, DetectionError, ModelError
from detection.signal.activity import Activity
from detection.signal.windows import Windower
from detection.types import SAMPLE_RATE_HZ, Samples, Score, Window, WindowScores

__all__ = [
    "DEFAULT_MODEL",
    "SAMPLE_RATE_HZ",
    "VERIFIER",
    "Activity",
    "AlertState",
    "AudioError",
    "Change",
    "Coverage",
    "Decider",
    "DetectionError",
    "Detector",
    "Frontend",
    "Fusion",
    "ModelError",
    "Outcome",
    "Policy",
    "Samples",
    "Score",
    "Verdict",
    "Verification",
    "VerificationOutcome",
    "VerifierWindow",
    "Window",
    "WindowScores",
    "Windower",
    "open_detector",
    "open_fusion",
]
