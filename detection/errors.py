"""The exceptions that `detection` raises.

    DetectionError
    ├── AudioError      an audio file that cannot be read, or holds no audio
    ├── DataError       a manifest, corpus or split that training or evaluation cannot use
    └── ModelError      a model file that is missing, damaged or not what its card says

Catch `DetectionError` for all of them.
"""

from __future__ import annotations


class DetectionError(Exception):
    """Root of the errors of this package; the message is one line for the user."""


class AudioError(DetectionError):
    """An audio file that cannot be read, or holds no audio."""


class DataError(DetectionError):
    """A manifest, corpus or split that training or evaluation cannot use."""


class ModelError(DetectionError):
    """A model file that is missing, damaged or not what its card says."""
