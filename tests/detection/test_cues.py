"""What a network could learn instead of the voice: how much each cue alone tells, before and after it was closed.

Corpora of this kind give synthetic clips away by silence, level, bandwidth, duration, codecs, page and speaker. For
each cue two small classifiers are trained on it alone. *Before*, on clips as recorded, and judged on further clips of
the same pages, they must find something: else the test could not fail. *After*, on what the recipe lets a network see
(a window of three seconds at random, spoiled), and judged on sources held out, they must be near chance.

Pages and speakers are names, and no spoiling hides a voice; what closes them is that half of the loss only ranks fakes
above humans of their own page. There, a page tells nothing by construction, and a speaker next to nothing. The other
half, cross entropy over the whole batch, isn't closed to them, which is why validation holds sources out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from detection import Samples, open_detector
from detection.audio import read_audio
from detection.features import FeatureSpec, FeatureStream
from detection.measure.conditions import cut_silence
from detection.measure.metrics import Curve, Labels, Scores, Weights, area_under_curve, intervals
from detection.offline import score_samples
from detection.training.augment import load_surroundings, spoil
from detection.training.data import Clip, read_manifest
from detection.training.sampling import MIN_OF_EACH, split_by_source

HELD_OUT = (0, 2)
WINDOW = 48_000
DYNAMIC_RANGE_DB = 60.0
"""What lies further below the loudest point of a window, our networks raise to it."""
FOUND = 0.6
"""Area under the curve from which a cue, as recorded, gives labels away."""
NEAR_CHANCE = 0.6
"""The most that a closed cue may reach on sources held out; its 95 % interval must go down to 0.55."""

Cue = Callable[[Samples], Sequence[float]]
_LOG_MEL = FeatureSpec(bands=64)


def silence(samples: Samples) -> Sequence[float]:
    """Seconds before and after what lies within 40 dB of the loudest, share of exact zeros and of faint frames."""
    level_db = _frame_levels_db(samples)
    on = np.flatnonzero(level_db > level_db.max() - 40)
    faint = float(np.mean(level_db < level_db.max() - 50))
    floor_db = max(float(np.quantile(level_db, 0.05) - level_db.max()), -DYNAMIC_RANGE_DB)
    return [float(on[0]), float(len(level_db) - 1 - on[-1]), float(np.mean(samples == 0)), faint, floor_db]


def level(samples: Samples) -> Sequence[float]:
    """Return mean and peak, in decibels."""
    return [float(np.log10(np.sqrt(np.mean(samples**2)) + 1e-9)), float(np.log10(np.max(np.abs(samples)) + 1e-9))]


def bandwidth(samples: Samples) -> Sequence[float]:
    """Return the shares of energy at both ends of the band, where channels and codecs differ and voices do little."""
    power = np.abs(np.fft.rfft(samples)) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / 16_000)
    edges_hz = ((0, 80), (80, 300), (3_400, 4_000), (7_000, 7_600), (7_600, 8_000))
    shares = (power[(hz >= low) & (hz < high)].sum() / power.sum() for low, high in edges_hz)
    return [max(float(10 * np.log10(share + 1e-12)), -DYNAMIC_RANGE_DB) for share in shares]


def duration(samples: Samples) -> Sequence[float]:
    """Return the length."""
    return [float(len(samples))]


def background(samples: Samples) -> Sequence[float]:
    """Return the colour of the quietest tenth: a page's microphone and room, and what codecs leave of them."""
    frames = FeatureStream(_LOG_MEL).push(np.resize(samples, max(len(samples), WINDOW)))
    frames = np.maximum(frames, frames.max() - DYNAMIC_RANGE_DB)
    loudness = frames.mean(axis=1)
    colour = frames[loudness <= np.quantile(loudness, 0.1)].mean(axis=0)
    return [float(band) for band in (colour - colour.mean()).reshape(16, 4).mean(axis=1)]


def _frame_levels_db(samples: Samples) -> NDArray[np.float32]:
    frames = samples[: len(samples) // 320 * 320].reshape(-1, 320)
    levels: NDArray[np.float32] = 10 * np.log10((frames**2).mean(axis=1) + 1e-12)
    return levels


CUES: dict[str, Cue] = {
    "silence": silence,
    "level": level,
    "bandwidth": bandwidth,
    "duration": duration,
    "codec history and page": background,
}


@dataclass(frozen=True)
class Clips:
    """Some clips: as recorded, and as a network sees them."""

    recorded: list[Samples]
    seen: list[Samples]
    is_fake: Labels
    sources: list[str]


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    manifest = (
        Path(os.environ.get("DETECTION_CORPUS", Path(__file__).parents[3] / "shared" / "corpus")) / "manifest.csv"
    )
    if not manifest.exists():
        pytest.skip("the development corpus is not here (set DETECTION_CORPUS to its folder)")
    return read_manifest(manifest, ("train", "val"))


@pytest.fixture(scope="module")
def parts(clips: list[Clip], corpus: Path) -> dict[str, Clips]:
    """Clips to train on, further ones of the same pages, and ones of sources held out."""
    train, held_out = split_by_source(clips, HELD_OUT)
    rng = np.random.default_rng(0)
    surroundings = load_surroundings(corpus / "noise_rir.csv")

    def take(chosen: Sequence[int], *, spoiled: bool = True) -> Clips:
        recorded = [read_audio(clips[index].file) for index in chosen]
        seen = [spoil(_window(samples, rng), surroundings, rng) for samples in recorded if spoiled]
        is_fake = np.array([clips[index].is_fake for index in chosen])
        return Clips(recorded, seen, is_fake, [clips[index].source for index in chosen])

    heard = _draw(clips, train, 800, rng)
    return {
        "train": take(heard[:300]),
        "same pages": take(heard[300:], spoiled=False),
        "held out": take(_draw(clips, held_out, 260, rng)),
    }


def _draw(clips: Sequence[Clip], among: Sequence[int], size: int, rng: np.random.Generator) -> list[int]:
    """Draw as many humans as fakes, in random order, sources tempered by a square root as in training."""
    drawn: list[int] = []
    for wanted in (False, True):
        chosen = [index for index in among if clips[index].is_fake == wanted]
        sources = [clips[index].source for index in chosen]
        weights = np.array([sources.count(source) for source in sources], np.float64) ** -0.5
        drawn += rng.choice(chosen, size // 2, replace=False, p=weights / weights.sum()).tolist()
    return [int(index) for index in rng.permutation(drawn)]


def _window(samples: Samples, rng: np.random.Generator) -> Samples:
    start = int(rng.integers(max(1, len(samples) - WINDOW + 1)))
    return np.resize(samples[start : start + WINDOW], WINDOW)


def _classifiers() -> list[ClassifierMixin]:
    return [
        make_pipeline(StandardScaler(), LogisticRegression()),
        GradientBoostingClassifier(n_estimators=60, max_depth=2, random_state=0),
    ]


def _answers(cue: Cue, heard: Sequence[Samples], is_fake: Labels, judged: Sequence[Samples]) -> list[Scores]:
    """Return what both classifiers, trained on the cue in `heard`, say of `judged`."""
    known, asked = (np.array([cue(samples) for samples in part]) for part in (heard, judged))
    return [one.fit(known, is_fake).predict_proba(asked)[:, 1] for one in _classifiers()]


@pytest.mark.slow
@pytest.mark.parametrize("cue", CUES)
def test_cues_as_recorded_give_labels_away(parts: dict[str, Clips], cue: str) -> None:
    train, same = parts["train"], parts["same pages"]
    areas = [
        area_under_curve(answer, same.is_fake)
        for answer in _answers(CUES[cue], train.recorded, train.is_fake, same.recorded)
    ]
    assert max(areas) >= FOUND, areas


@pytest.mark.slow
@pytest.mark.parametrize("cue", CUES)
def test_closed_cues_are_near_chance(parts: dict[str, Clips], cue: str) -> None:
    train, held_out = parts["train"], parts["held out"]
    for answer in _answers(CUES[cue], train.seen, train.is_fake, held_out.seen):
        area, (low, high) = _area(answer, held_out)
        assert area <= NEAR_CHANCE, f"{area:.3f} ({low:.3f} to {high:.3f})"
        assert low <= 0.55, f"{area:.3f} ({low:.3f} to {high:.3f})"


def _area(answer: Scores, clips: Clips) -> tuple[float, tuple[float, float]]:
    def figures(weights: Weights) -> dict[str, float]:
        curve = Curve.of(answer, clips.is_fake, weights)
        return {"area": curve.area if curve else float("nan")}

    return area_under_curve(answer, clips.is_fake), intervals(figures, clips.sources)["area"]


@pytest.mark.parametrize(("name", "most"), [("source", 0.5), ("speaker", 0.56)])
def test_names_tell_little_where_fakes_are_ranked_among_humans_of_their_page(
    clips: list[Clip], name: str, most: float
) -> None:
    train, held_out = ([clips[index] for index in part] for part in split_by_source(clips, HELD_OUT))
    rng = np.random.default_rng(0)
    order = rng.permutation(len(train))
    known, further = ([train[index] for index in part] for part in np.array_split(order, 2))
    assert area_under_curve(*_by_name(known, further, name)) > 0.9
    scores, is_fake = _by_name(train, held_out, name)
    sources = np.array([clip.source for clip in held_out])
    areas, weights = [], []
    for source in sorted(set(sources)):
        page = sources == source
        of_each = min(is_fake[page].sum(), (~is_fake[page]).sum())
        if of_each >= MIN_OF_EACH:
            areas.append(area_under_curve(scores[page], is_fake[page]))
            weights.append(np.sqrt(of_each))
    assert len(areas) > 5
    assert np.average(areas, weights=weights) <= most


def _by_name(known: Sequence[Clip], asked: Sequence[Clip], name: str) -> tuple[Scores, Labels]:
    """Return, of the clips `asked`, the share of fakes that their page or speaker had among the `known`."""
    counts: dict[str, list[int]] = {}
    for clip in known:
        counts.setdefault(getattr(clip, name), [1, 2])
        counts[getattr(clip, name)][0] += clip.is_fake
        counts[getattr(clip, name)][1] += 1
    shares = [counts.get(getattr(clip, name), [1, 2]) for clip in asked]
    return np.array([fakes / total for fakes, total in shares]), np.array([clip.is_fake for clip in asked])


@pytest.mark.slow
def test_the_default_model_does_not_mind_silence_at_the_ends_or_level(parts: dict[str, Clips]) -> None:
    detector = open_detector()
    chosen = parts["held out"].recorded[:60]

    def log_odds(change: Callable[[Samples], Samples]) -> Scores:
        return np.array([score_samples(change(samples), detector).log_odds for samples in chosen])

    as_is = log_odds(lambda samples: samples)
    quieter = log_odds(lambda samples: samples * np.float32(0.25))
    longer = log_odds(lambda samples: np.pad(samples, 8_000))
    cut = log_odds(cut_silence)
    assert np.abs(quieter - as_is).mean() < 0.1 * as_is.std()
    for changed in (longer, cut):
        assert np.corrcoef(changed, as_is)[0, 1] > 0.9
        assert abs((changed - as_is).mean()) < 0.25 * as_is.std()
