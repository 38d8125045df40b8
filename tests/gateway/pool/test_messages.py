from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from detection import Coverage, Window, open_detector
from gateway.errors import BadMessage
from gateway.pool import messages
from gateway.pool.messages import PoolModel

MODEL = PoolModel("0123456789ab", "heavy@01234567, calibration 0123456789ab", 48_000)


def test_samples_of_a_job_are_transferred_without_loss() -> None:
    """Fades at pauses included: they are rounded to 16 bits where they are made."""
    noise = np.random.default_rng(3).normal(0, 0.2, 48_000).astype(np.float32)
    speech = np.zeros(150, np.bool_)
    speech[20:60] = speech[100:140] = True
    coverage = Coverage(1.0, 1.0)
    questions = coverage.add(Window(0.0, noise, 48_000, 1.6, 1.6, speech=speech), overlapping=False) + coverage.end()
    assert questions
    model = dataclasses.replace(MODEL, window_samples=16_000)
    for question in questions:
        body = messages.to_bytes(question.window.samples)
        assert len(body) == model.job_bytes == 32_000
        np.testing.assert_array_equal(messages.to_samples(body, model), question.window.samples)


@pytest.mark.parametrize("body", [b"", b"\0" * 95_999, b"\0" * 96_001, b"garbage"])
def test_a_body_of_another_length_is_refused(body: bytes) -> None:
    with pytest.raises(BadMessage, match=f"expected 96000 bytes of samples, got {len(body)}"):
        messages.to_samples(body, MODEL)


def test_the_answer_goes_to_who_asked() -> None:
    subject = messages.job("callscreen", MODEL.key, "00112233445566ff", 42)
    assert subject == "callscreen.jobs.0123456789ab.00112233445566ff.42"
    assert messages.answer("callscreen", *messages.sender(subject)) == "callscreen.answers.00112233445566ff.42"


@pytest.mark.parametrize(
    "end",
    [
        "00112233445566ff.x",
        "00112233445566f.1",
        "*.1",
        "00112233445566ff.>",
        "events.1",
        "00112233445566ff." + "9" * 19,
    ],
)
def test_a_forged_subject_makes_no_subject_of_an_answer(end: str) -> None:
    with pytest.raises(BadMessage, match="subject: expected that of a job"):
        messages.sender(f"callscreen.jobs.0123456789ab.{end}")
    with pytest.raises(BadMessage):
        messages.sender(end)


def test_the_key_tells_networks_and_calibrations_apart() -> None:
    one, other = (open_detector(name, backend="elsewhere") for name in ("tinystatnet", "tinyaudionet"))
    keys = {PoolModel.of(detector).key for detector in (one, other)}
    calibration = one.card.calibration.model_copy(update={"wide": other.card.calibration.wide})
    one.card = one.card.model_copy(update={"calibration": calibration})
    keys.add(PoolModel.of(one).key)
    assert len(keys) == 3
    assert PoolModel.of(one).shown.startswith(f"{one.name}, calibration ")
