"""What a second of one leg costs, part by part, against the same work done by librosa and torch in eager mode.

python -m tests.benchmarks.bench_parts
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import librosa
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from detection import Activity, Decider, Detector, Policy, Samples, Score, Window, Windower, open_detector
from detection.detector import DEFAULT_MODEL, VERIFIER
from detection.features import FeatureSpec
from detection.models import ARCHITECTURES, LogOdds
from gateway.call.leg import Leg
from gateway.ingest.dialects.twilio import Twilio
from gateway.ingest.events import AudioFormat, AudioReceived
from tests.gateway.loudness import speech
from tests.gateway.wire import twilio_media, twilio_start

SECONDS = 20


def main(_argv: list[str] | None = None) -> int:
    torch.set_num_threads(1)
    with threadpool_limits(1, user_api="blas"):
        Console(width=100).print(_table())
    return 0


def _table() -> Table:
    detector = open_detector(DEFAULT_MODEL)
    spec = detector.card.contract.features
    assert isinstance(spec, FeatureSpec)
    audio = speech(SECONDS, synthetic=True)
    windower = Windower(detector.window_s, detector.hop_s, Activity())
    windows = windower.push(0, audio, 0)
    frontend = detector.frontend()
    inputs = np.stack([frontend.inputs(window).copy() for window in windows])
    batch = np.resize(inputs, (32, *inputs.shape[1:]))
    hops_a_second = 1 / detector.hop_s
    network = LogOdds(ARCHITECTURES[detector.card.architecture].build(detector.card.contract)).eval()

    def eager() -> None:
        with torch.inference_mode():
            network(torch.from_numpy(batch[:1]))

    def with_librosa() -> None:
        librosa.feature.mfcc(
            y=windows[0].samples,
            sr=16_000,
            n_mfcc=spec.coefficients or 20,
            n_fft=spec.fft_samples,
            hop_length=spec.hop_samples,
            n_mels=spec.bands,
            center=False,
        )

    decider = Decider(Policy())
    score = Score(0, detector.window_s, 2.5, 1.0, 0.5)
    verifier = open_detector(VERIFIER or DEFAULT_MODEL)
    verifier_batch = np.zeros((1, *verifier.card.contract.input_shape), np.float32)
    table = Table(
        "part", "µs a leg-second", title=f"{detector.name}, window {detector.window_s:g} s, hop {detector.hop_s:g} s"
    )
    for name, cost_us in (
        ("Twilio messages understood (JSON, base64)", _twilio() / SECONDS),
        ("payloads ordered, decoded, resampled", _leg() / SECONDS),
        ("speech activity and windows", _best(lambda: _windows(audio, detector.window_s, detector.hop_s)) / SECONDS),
        ("features, streaming", _best(lambda: _features(detector, windows)) / SECONDS),
        ("model, batch 1", _best(lambda: detector.score(batch[:1]), 200) * hops_a_second),
        ("model, batch 32", _best(lambda: detector.score(batch), 20) / 32 * hops_a_second),
        ("decision", _best(lambda: decider.update(score), 1000) * hops_a_second),
        ("verifier, one window", _best(lambda: verifier.score(verifier_batch), 5)),
        ("floor: librosa MFCC of each window", _best(with_librosa, 20) * hops_a_second),
        ("floor: torch eager, batch 1", _best(eager, 50) * hops_a_second),
    ):
        table.add_row(name, f"{cost_us:.0f}")
    return table


def _best(work: Callable[[], object], times: int = 10) -> float:
    """Microseconds of the fastest of several runs: what the work costs when nobody else is on the core."""
    best_s = float("inf")
    for _ in range(times):
        began_s = time.perf_counter()
        work()
        best_s = min(best_s, time.perf_counter() - began_s)
    return 1e6 * best_s


def _twilio() -> float:
    messages = [twilio_media(index) for index in range(50 * SECONDS)]

    def understand() -> None:
        dialect = Twilio()
        dialect.receive(twilio_start("CA1"))
        for message in messages:
            dialect.receive(message)

    return _best(understand)


def _leg() -> float:
    dialect = Twilio()
    dialect.receive(twilio_start("CA1"))
    payloads = [event for index in range(50 * SECONDS) for event in dialect.receive(twilio_media(index))]

    def listen() -> None:
        leg = Leg(AudioFormat("mulaw", 8000))
        for payload in payloads:
            assert isinstance(payload, AudioReceived)
            leg.push(payload)

    return _best(listen)


def _windows(audio: Samples, window_s: float, hop_s: float) -> None:
    windower = Windower(window_s, hop_s, Activity())
    for at in range(0, len(audio), 3200):
        windower.push(at / 16_000, audio[at : at + 3200], 0)


def _features(detector: Detector, windows: list[Window]) -> None:
    frontend = detector.frontend()
    for window in windows:
        frontend.inputs(window)


if __name__ == "__main__":
    sys.exit(main())
