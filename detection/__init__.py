"""Says of a voice whether it sounds synthetic. Knows audio and numbers; never calls, sockets or clocks.

The way of one leg: `Windower` cuts its audio and lets `Activity` find the speech; a `Frontend` of the `Detector` turns
each `Window` into model input; `Detector.score` gives log-odds; `Decider` makes alerts (`Change`) and the `Verdict`.
`Coverage` cuts the same speech for a heavier `Detector`, the verifier, and `Fusion` makes one number of what both say.
"""

from __future__ import annotations

from detection.decision.coverage import Coverage, Question
from detection.decision.fusion import Fusion, open_fusion
from detection.decision.rule import AlertState, Change, Decider, Outcome, Policy, Ruling, Verdict, Verification
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
    "Question",
    "Ruling",
    "Samples",
    "Score",
    "Verdict",
    "Verification",
    "Window",
    "WindowScores",
    "Windower",
    "open_detector",
    "open_fusion",
]
