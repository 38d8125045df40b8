"""What a second of one leg costs, part by part, against the same work done by librosa and torch in eager mode.

    python -m tests.benchmarks.bench_parts

Then the compiled libraries alone, called with the same data and nothing around them: what these parts would still cost
if no line of Python were left. And the aims: the cost of a window, and of the process that scores windows.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import librosa
import msgspec
import numpy as np
import soxr
import torch
import webrtcvad
from rich.console import Console
from rich.table import Table
from scipy import fft
from threadpoolctl import threadpool_limits

from detection import (
    DEFAULT_MODEL,
    SAMPLE_RATE_HZ,
    VERIFIER,
    Activity,
    Decider,
    Detector,
    Frontend,
    Policy,
    Samples,
    Score,
    Window,
    Windower,
    open_detector,
)
from detection.decision.coverage import step_s
from detection.detector import CardDetector
from detection.models import ARCHITECTURES, LogOdds
from detection.signal.features import FeatureSpec
from gateway.call.leg import Leg
from gateway.config import Settings
from gateway.ingest.dialects.twilio import Twilio
from gateway.ingest.events import AudioFormat, AudioReceived
from tests.gateway.loudness import speech
from tests.gateway.wire import twilio_media, twilio_start

SECONDS = 20

SCORE_ONE = """\
import sys
import numpy as np
from detection import SAMPLE_RATE_HZ, Window, open_detector
for name in sys.argv[1:]:
    detector = open_detector(name)
    samples = np.zeros(round(detector.window_s * SAMPLE_RATE_HZ), np.float32)
    window = Window(0, samples, len(samples), 0, 0)
    detector.score(detector.frontend().inputs(window)[None])
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""
"""Opens models and scores a window with each; prints the peak of resident memory in KiB, the most that Linux says."""


def main(_argv: list[str] | None = None) -> int:
    torch.set_num_threads(1)
    with threadpool_limits(1, user_api="blas"):
        detector = open_detector(DEFAULT_MODEL)
        windows = _windows(speech(SECONDS, synthetic=True), detector)
        console = Console(width=100)
        console.print(_parts(detector, windows))
        console.print(_libraries_alone(detector, windows))
        console.print(_aims(detector, windows))
    return 0


def _parts(detector: CardDetector, windows: list[Window]) -> Table:
    audio = speech(SECONDS, synthetic=True)
    frontend = detector.frontend()
    inputs = np.stack([frontend.inputs(window).copy() for window in windows])
    batch = np.resize(inputs, (32, *inputs.shape[1:]))
    hops_a_second = 1 / detector.hop_s
    decider = Decider(Policy())
    score = Score(0, detector.window_s, 2.5, 1.0, 0.5)
    table = Table(
        "part", "µs a leg-second", title=f"{detector.name}, window {detector.window_s:g} s, hop {detector.hop_s:g} s"
    )
    for name, cost_us in (
        ("Twilio messages understood (JSON, base64)", _twilio() / SECONDS),
        ("payloads ordered, decoded, resampled", _leg() / SECONDS),
        ("speech activity and windows", _best(lambda: _windows(audio, detector)) / SECONDS),
        ("features, streaming", _best(lambda: _features(detector, windows)) / SECONDS),
        ("model, batch 1", _best(lambda: detector.score(batch[:1]), 200) * hops_a_second),
        ("model, batch 32", _best(lambda: detector.score(batch), 20) / 32 * hops_a_second),
        ("decision", _best(lambda: decider.update(score), 1000) * hops_a_second),
    ):
        table.add_row(name, f"{cost_us:.0f}")
    return table


def _libraries_alone(detector: CardDetector, windows: list[Window]) -> Table:
    narrow = speech(1, synthetic=True)[::2].copy()
    pcm = (narrow * 32767).astype("<i2").tobytes()
    frames = [pcm[at : at + 320] for at in range(0, len(pcm), 320)]
    is_speech = webrtcvad.Vad(2).is_speech
    resample = soxr.ResampleStream(8_000, SAMPLE_RATE_HZ, 1, "float32").resample_chunk
    messages = [twilio_media(index) for index in range(50)]
    decode = msgspec.json.Decoder().decode
    framed = np.resize(speech(1, synthetic=True), (100, 512))  # of features; the other spectra are a quarter as many
    power = np.abs(fft.rfft(framed[:25], axis=1)) ** 2
    inputs = detector.frontend().inputs(windows[0])[None]
    costs_us = {
        "msgspec, 50 messages of JSON": _best(lambda: [decode(message) for message in messages]),
        "soxr, 8 to 16 kHz in blocks of 200 ms": _best(lambda: [resample(block) for block in np.split(narrow, 5)]),
        "WebRTC's VAD, 50 frames": _best(lambda: [is_speech(frame, 8_000) for frame in frames]),
        "scipy's FFT, speech activity": _best(lambda: (fft.rfft(framed[:25], axis=1), fft.irfft(power, axis=1)), 50),
        "scipy's FFT, music and muffled speech": _best(lambda: fft.rfft(framed[:25], axis=1), 50),
        "scipy's FFT, features": _best(lambda: fft.rfft(framed, axis=1), 50),
        "ONNX Runtime, the light model": _best(lambda: detector.backend.log_odds(inputs), 100) / detector.hop_s,
    }
    table = Table("library", "µs a leg-second", title="The libraries alone")
    for name, cost_us in costs_us.items():
        table.add_row(name, f"{cost_us:.0f}")
    table.add_row("all of them", f"{sum(costs_us.values()):.0f}")
    return table


def _aims(detector: CardDetector, windows: list[Window]) -> Table:
    librosa_us = _best(_with_librosa(detector, windows[0]), 20)
    eager_us = _best(_eager(detector, windows[0]), 50)
    table = Table("whole", "measured", "aim", title="A window, and the process that scores them")
    table.add_row("window: features + model", f"{_window(detector, windows) / 1000:.2f} ms", "3 ms")
    table.add_row("floor: librosa's features of the window", f"{librosa_us / 1000:.2f} ms")
    table.add_row("floor: torch eager, batch 1", f"{eager_us / 1000:.2f} ms")
    table.add_row("floor: both", f"{(librosa_us + eager_us) / 1000:.2f} ms")
    if VERIFIER:
        verified_ms = _verified() / 1000
        verifier = open_detector(VERIFIER)
        share = Settings.model_fields["verifier_cpu_share"].default
        covered = share * 1000 * step_s(verifier.window_s, verifier.hop_s) / verified_ms
        table.add_row(f"verifier {VERIFIER}, {verifier.window_s:g} s: features + model", f"{verified_ms:.1f} ms")
        table.add_row(f"speaking legs that {share:g} of a core verifies, the default", f"{covered:.0f}")
        _add_process(table, (DEFAULT_MODEL, VERIFIER))
    _add_process(table, (DEFAULT_MODEL,), "1 s", "150 MB")
    return table


def _add_process(table: Table, models: tuple[str, ...], start_aim: str = "", peak_aim: str = "") -> None:
    start_s, peak_mb = _process(*models)
    table.add_row(f"{' and '.join(models)}: start-up to first score", f"{start_s:.2f} s", start_aim)
    table.add_row(f"{' and '.join(models)}: peak resident memory", f"{peak_mb:.0f} MB", peak_aim)


def _window(detector: CardDetector, windows: list[Window]) -> float:
    """Microseconds of a window in mid-call: features of its fresh second, and one call of the model."""

    def passed() -> list[float]:
        frontend = detector.frontend()
        return [_best(partial(_score, detector, frontend, window), 1) for window in windows]

    best_us = np.min([passed() for _ in range(20)], axis=0)
    return float(best_us[1:].mean())  # a leg's first window is all fresh, and no other is


def _score(detector: Detector, frontend: Frontend, window: Window) -> None:
    detector.score(frontend.inputs(window)[None])


def _verified() -> float:
    """Microseconds of one window that the verifier is asked about: it has heard nothing of the leg before."""
    verifier = open_detector(VERIFIER or DEFAULT_MODEL)
    window = _windows(speech(SECONDS, synthetic=True), verifier)[0]
    return _best(lambda: _score(verifier, verifier.frontend(), window), 5)


def _with_librosa(detector: CardDetector, window: Window) -> Callable[[], object]:
    """Return the model's front end as librosa does it: each window anew."""
    spec = detector.card.contract.features
    assert isinstance(spec, FeatureSpec)
    assert spec.scale == "mel"

    def described() -> None:
        power = librosa.feature.melspectrogram(
            y=window.samples,
            sr=SAMPLE_RATE_HZ,
            n_fft=spec.fft_samples,
            hop_length=spec.hop_samples,
            n_mels=spec.bands,
            fmin=spec.low_hz,
            fmax=spec.high_hz,
            center=False,
        )
        decibels = librosa.power_to_db(power, top_db=None)
        if spec.coefficients:
            librosa.feature.mfcc(S=decibels, n_mfcc=spec.coefficients)

    return described


def _eager(detector: CardDetector, window: Window) -> Callable[[], object]:
    """Return the same network in eager mode, untrained: the weights don't change what it costs."""
    contract = detector.card.contract
    network = LogOdds(ARCHITECTURES[detector.card.architecture].build(contract)).eval()
    inputs = torch.from_numpy(detector.frontend().inputs(window)[None])

    def eager() -> None:
        with torch.inference_mode():
            network(inputs)

    return eager


def _process(*models: str) -> tuple[float, float]:
    """Return how long a fresh process takes from its start until it has scored, in s (of three), and its peak MB."""
    best_s, peak_kib = float("inf"), 0
    for _ in range(3):
        began_s = time.perf_counter()
        said = subprocess.run([sys.executable, "-c", SCORE_ONE, *models], stdout=subprocess.PIPE, text=True, check=True)
        best_s = min(best_s, time.perf_counter() - began_s)
        peak_kib = max(peak_kib, int(said.stdout))
    return best_s, peak_kib * 1024 / 1e6


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


def _windows(audio: Samples, detector: Detector) -> list[Window]:
    windower = Windower(detector.window_s, detector.hop_s, Activity())
    pushes = range(0, len(audio), 3200)
    return [window for at in pushes for window in windower.push(at / SAMPLE_RATE_HZ, audio[at : at + 3200], 0)]


def _features(detector: Detector, windows: list[Window]) -> None:
    frontend = detector.frontend()
    for window in windows:
        frontend.inputs(window)


if __name__ == "__main__":
    sys.exit(main())
