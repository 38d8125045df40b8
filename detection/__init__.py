"""Says of a voice whether it sounds synthetic. Knows audio and numbers; never calls, sockets or clocks.

The way of one leg: `Windower` cuts its audio and lets `Activity` find the speech; a `Frontend` of the `Detector` turns
each `Window` into model input; `Detector.score` gives log-odds; `Decider` makes alerts (`Change`) and the `Verdict`.
"""

from __future__ import annotations

from detection.activity import Activity
from detection.decision import AlertState, Change, Decider, Outcome, Policy, Verdict
from detection.detector import DEFAULT_MODEL, Detector, Frontend, open_detector
from detection.errors import AudioError, DetectionError, ModelError
from detection.types import SAMPLE_RATE_HZ, Samples, Score, Window
from detection.windows import Windower

__all__ = [
    "DEFAULT_MODEL",
    "SAMPLE_RATE_HZ",
    "Activity",
    "AlertState",
    "AudioError",
    "Change",
    "Decider",
    "DetectionError",
    "Detector",
    "Frontend",
    "ModelError",
    "Outcome",
    "Policy",
    "Samples",
    "Score",
    "Verdict",
    "Window",
    "Windower",
    "open_detector",
]
