"""Says of a voice whether it sounds synthetic. Knows audio and numbers; never calls, sockets or clocks.

The way of one leg: `Windower` cuts its audio and lets `Activity` find the speech; a `Frontend` of the `Detector` turns
each `Window` into model input; `Detector.score` gives log-odds; `Decider` makes alerts (`Change`) and the `Verdict`;
`Hybrid` asks a heavier `Detector` about the legs that are hard.
"""

from __future__ import annotations

from detection.activity import Activity
from detection.decision import AlertState, Change, Decider, Outcome, Policy, Verdict
from detection.detector import DEFAULT_MODEL, VERIFIER, Detector, Frontend, open_detector
from detection.errors import AudioError, DetectionError, ModelError
from detection.hybrid import Hybrid, Ruling, Verification
from detection.types import SAMPLE_RATE_HZ, Samples, Score, Window
from detection.windows import Windower

__all__ = [
    "DEFAULT_MODEL",
    "SAMPLE_RATE_HZ",
    "VERIFIER",
    "Activity",
    "AlertState",
    "AudioError",
    "Change",
    "Decider",
    "DetectionError",
    "Detector",
    "Frontend",
    "Hybrid",
    "ModelError",
    "Outcome",
    "Policy",
    "Ruling",
    "Samples",
    "Score",
    "Verdict",
    "Verification",
    "Window",
    "Windower",
    "open_detector",
]
