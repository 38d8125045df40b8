"""Subjects and bodies of the messages between gateways and verifiers.  [S]

=========================================  =============================================================
subject                                    body
=========================================  =============================================================
``<stream>.jobs.<model>.<gateway>.<job>``  a window: 16-bit samples at 16 kHz, little-endian
``<stream>.answers.<gateway>.<job>``       `Answer`, as JSON
``<stream>.answers.<gateway>.stored``      the server's acknowledgement of a job
``<stream>.verifiers.here``                `Here`, as JSON: every verifier, every `roster.BEAT_S`
``<stream>.verifiers.ask``                 `Asking`, as JSON: a gateway asks all verifiers to announce themselves
=========================================  =============================================================

``<model>`` is a hash of network and calibration, so that a verifier gets jobs of its own model only. Jobs hold samples,
not the model's input, because they are smaller: a second is 32 kB as samples, and 128 kB as the input of the shipped
verifier in single precision. The input would protect nothing: it has the phase, so the audio can be recovered from it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Self

import msgspec
import numpy as np

from detection import SAMPLE_RATE_HZ, Samples
from detection.decision.calibration import fingerprint
from detection.decision.coverage import FULL_SCALE
from detection.decision.fusion import FusedModel
from detection.detector import CardDetector
from gateway.errors import BadMessage

STORED = "stored"
"""Replaces the job's number in the subject of an acknowledgement."""
_GATEWAY = re.compile(r"[0-9a-f]{16}")
_NUMBER = re.compile(r"[0-9]{1,18}")
_SAMPLE = np.dtype("<i2")

Name = Annotated[str, msgspec.Meta(max_length=200)]


@dataclass(frozen=True, slots=True)
class PoolModel:
    """The model that jobs are for."""

    key: str
    """Hash of the network and its calibration, used in subjects."""
    shown: str
    """For logs: ``specnet@1f3a9c2e, calibration 0123456789ab``."""
    window_samples: int

    @classmethod
    def of(cls, detector: CardDetector) -> Self:
        """Return the identity of `detector`'s model."""
        return cls(
            fingerprint(FusedModel.of(detector)),
            f"{detector.name}, calibration {detector.calibration_id}",
            round(detector.window_s * SAMPLE_RATE_HZ),
        )

    @property
    def job_bytes(self) -> int:
        """Length of a job's body."""
        return self.window_samples * _SAMPLE.itemsize


class Answer(msgspec.Struct, frozen=True):
    """A verifier's answer to a job."""

    model: Name
    """`PoolModel.key` of the model that scored it."""
    log_odds: float | None
    """Calibrated natural log-odds of 'synthetic'; None: the model gave no number."""
    narrow: bool
    """Whether the window came through a narrow channel."""
    worked_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """Seconds from when the verifier took the job to its answer; the remaining time the job waited."""
    failed: Name | None = None
    """Why the job was not scored; None: it was."""


class Here(msgspec.Struct, frozen=True):
    """A verifier's announcement."""

    instance: Name
    """Identifies the process."""
    model: Name
    """`PoolModel.key`."""
    shown: Name
    """`PoolModel.shown`."""
    leaving: bool = False
    """Whether it takes no more jobs."""


class Asking(msgspec.Struct, frozen=True):
    """A gateway's request that verifiers announce themselves."""

    model: Name
    shown: Name


def jobs_stream(stream: str) -> str:
    """Return the name of the JetStream stream of jobs."""
    return f"{stream}-jobs"


def all_jobs(stream: str) -> str:
    """Return the subject filter of all jobs."""
    return f"{stream}.jobs.>"


def jobs_for(stream: str, model: str) -> str:
    """Return the subject filter of the jobs of a model."""
    return f"{stream}.jobs.{model}.*.*"


def job(stream: str, model: str, gateway: str, number: int) -> str:
    """Return the subject of a job."""
    return f"{stream}.jobs.{model}.{gateway}.{number}"


def sender(subject: str) -> tuple[str, str]:
    """Return the gateway of a job, and the job's number there. Raises BadMessage."""
    gateway, number = ["", *subject.split(".")][-2:]
    if not _GATEWAY.fullmatch(gateway) or not _NUMBER.fullmatch(number):
        raise BadMessage("subject: expected that of a job, <stream>.jobs.<model>.<gateway>.<number>", "bad_job")
    return gateway, number


def answer(stream: str, gateway: str, number: str) -> str:
    """Return the subject of the answer to a job; number ``*`` is a filter of all, `STORED` is for acknowledgements."""
    return f"{stream}.answers.{gateway}.{number}"


def here(stream: str) -> str:
    """Return the subject of announcements."""
    return f"{stream}.verifiers.here"


def ask(stream: str) -> str:
    """Return the subject of gateways' requests for announcements."""
    return f"{stream}.verifiers.ask"


def to_bytes(samples: Samples) -> bytes:
    """Return the body of a job. This is lossless: the verifier's input has 16 bits (`coverage.FULL_SCALE`)."""
    body: bytes = np.rint(samples * FULL_SCALE).astype(_SAMPLE).tobytes()
    return body


def to_samples(body: bytes, model: PoolModel) -> Samples:
    """Return the audio of a job, ``(window_samples,)``. Raises BadMessage."""
    if len(body) != model.job_bytes:
        raise BadMessage(f"body: expected {model.job_bytes} bytes of samples, got {len(body)}", "bad_job")
    return np.frombuffer(body, _SAMPLE).astype(np.float32) / FULL_SCALE
