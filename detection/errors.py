"""Everything that `detection` raises on purpose.

DetectionError
├── AudioError      an audio file that cannot be read, or holds nothing
├── DataError       a manifest, corpus or split that training or evaluation cannot use
└── ModelError      a model file that is missing, damaged or not what its card says
"""

from __future__ import annotations


class DetectionError(Exception):
    """Root of the errors of this package; the message is one line, fit to be shown to a user."""


class AudioError(DetectionError):
    """An audio file that cannot be read, or holds nothing."""


class DataError(DetectionError):
    """A manifest, corpus or split that training or evaluation cannot use."""


class ModelError(DetectionError):
    """A model file that is missing, damaged or not what its card says."""
