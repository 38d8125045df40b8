"""What a network could learn instead of the voice: how much each cue alone tells, and what augmentation leaves of it.

Corpora of this kind give synthetic clips away by silence, level, bandwidth, duration, codecs, page and speaker. For
each cue two small classifiers are trained on it alone, on windows of three seconds as recorded and on the same windows
augmented as the recipe does; each is judged on further clips of the pages it learnt from and on sources held out. Three
claims, each with a check of its own: as recorded the cue gives labels away (else nothing could be shown); augmentation
takes some of it, all else alike; and what a network gets to hear is near chance on sources held out. Clips shorter than
a window are looped, and stay recognisable as such.

Pages and speakers are names, and no augmentation hides a voice; what closes them is that half of the loss only ranks
fakes above humans of their own page. There, a page tells nothing by construction, and a speaker little. The other half,
cross entropy over the whole batch, isn't closed to them, which is why validation holds sources out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import pyworld
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from detection import Samples, open_detector
from detection.measure.conditions import cut_silence
from detection.measure.metrics import Curve, Labels, Scores, Weights, area_under_curve, intervals
from detection.offline import score_samples
from detection.signal.audio import read_audio
from detection.signal.features import FeatureSpec, FeatureStream
from detection.training.augment import augment_clip, load_surroundings
from detection.training.data import Clip, read_manifest
from detection.training.sampling import MIN_OF_EACH, split_by_source
from detection.types import SAMPLE_RATE_HZ

HELD_OUT = (0, 2)
WINDOW = 48_000
DYNAMIC_RANGE_DB = 60.0
"""What lies further below the loudest point of a window, our networks raise to it."""
FOUND = 0.57
"""Area under the curve from which a cue, as recorded, gives labels away: on its own pages or held-out ones."""
TAKEN = 0.03
"""The least area that augmentation must take from a cue, on the mean of both parts."""
NEAR_CHANCE = 0.6
"""The most that a cue may reach on sources held out once augmented."""

FORMS = ("recorded", "augmented")
"""Of a window: as it stands in the recording, and as a network hears it."""
AUGMENTED_CUES = ("silence", "level", "bandwidth", "codec history and page")
"""The cues that augmentation is for."""
PARTS = ("same pages", "held out")

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


def background(samples: Samples) -> Sequence[float]:
    """Return the colour of the quietest tenth: a page's microphone and room, and what codecs leave of them."""
    frames = FeatureStream(_LOG_MEL).push(np.resize(samples, max(len(samples), WINDOW)))
    frames = np.maximum(frames, frames.max() - DYNAMIC_RANGE_DB)
    loudness = frames.mean(axis=1)
    colour = frames[loudness <= np.quantile(loudness, 0.1)].mean(axis=0)
    return [float(band) for band in (colour - colour.mean()).reshape(16, 4).mean(axis=1)]


def repetition(samples: Samples) -> Sequence[float]:
    """Return the best likeness of the frames to those 0.5 to 2.75 s later, 1 where a short clip is looped, and when."""
    frames = FeatureStream(_LOG_MEL).push(samples)
    frames = np.maximum(frames, frames.max() - DYNAMIC_RANGE_DB)
    frames -= frames.mean(axis=0)
    n = len(frames)
    lags = np.arange(50, 275)
    products = np.fft.irfft(np.abs(np.fft.rfft(frames, 2 * n, axis=0)) ** 2, axis=0).sum(axis=1)[lags]
    energy = np.concatenate(([0.0], np.cumsum(np.square(frames, dtype=np.float64).sum(axis=1))))
    likeness = products / np.sqrt(energy[n - lags] * (energy[n] - energy[lags]) + 1e-9)
    best = int(np.argmax(likeness))
    return [float(likeness[best]), lags[best] * _LOG_MEL.hop_samples / SAMPLE_RATE_HZ]


def voice(samples: Samples) -> Sequence[float]:
    """Return the median and the spread of the pitch, in octaves."""
    hz, _ = pyworld.dio(samples.astype(np.float64), SAMPLE_RATE_HZ)
    if not (hz > 0).any():
        return [7.0, 0.0]
    low, median, high = np.quantile(np.log2(hz[hz > 0]), [0.25, 0.5, 0.75])
    return [float(median), float(high - low)]


def _frame_levels_db(samples: Samples) -> NDArray[np.float32]:
    frames = samples[: len(samples) // 320 * 320].reshape(-1, 320)
    levels: NDArray[np.float32] = 10 * np.log10((frames**2).mean(axis=1) + 1e-12)
    return levels


CUES: dict[str, Cue] = {
    "silence": silence,
    "level": level,
    "bandwidth": bandwidth,
    "codec history and page": background,
    "repetition": repetition,
    "voice": voice,
}


@dataclass(frozen=True)
class Clips:
    """Some clips, and what each cue says of them."""

    recorded: list[Samples]
    told: dict[tuple[str, str], NDArray[np.float64]]
    """By cue and form, ``(n_clips, n_numbers)``."""
    is_fake: Labels
    sources: list[str]


@dataclass(frozen=True)
class Cell:
    """How much one cue tells in one form on one part: the answers of the better of two classifiers."""

    answer: Scores
    judged: Clips

    def area(self, weights: Weights | None = None) -> float:
        """Return the area under the curve, each clip counted `weights` times (once)."""
        curve = Curve.of(self.answer, self.judged.is_fake, weights)
        return curve.area if curve else float("nan")

    def interval(self) -> tuple[float, float]:
        """Return the area's 95 % interval, over sources."""
        return intervals(lambda weights: {"area": self.area(weights)}, self.judged.sources)["area"]

    def __str__(self) -> str:
        return "{:.2f} ({:.2f}-{:.2f})".format(self.area(), *self.interval())


Cells = dict[tuple[str, str, str], Cell]
"""By cue, form and part."""


@pytest.fixture(scope="module")
def clips(corpus: Path) -> list[Clip]:
    return read_manifest(corpus / "manifest.csv", ("train", "val"))


@pytest.fixture(scope="module")
def parts(clips: list[Clip], corpus: Path) -> dict[str, Clips]:
    """Clips of the pages that are learned from, and ones of sources held out."""
    train, held_out = split_by_source(clips, HELD_OUT)
    rng = np.random.default_rng(0)
    surroundings = load_surroundings(corpus / "noise_rir.csv")

    def take(chosen: Sequence[int]) -> Clips:
        recorded = [read_audio(clips[index].file) for index in chosen]
        told: dict[tuple[str, str], list[Sequence[float]]] = {(cue, form): [] for cue in CUES for form in FORMS}
        for index, samples in zip(chosen, recorded, strict=True):
            augmented = augment_clip(samples, surroundings, np.random.default_rng((1, index)))
            for form, heard in zip(FORMS, (samples, augmented), strict=True):
                # One seed for both: the windows differ in nothing but the augmentation.
                window = _window(heard, np.random.default_rng((2, index)))
                for name, cue in CUES.items():
                    told[name, form].append(cue(window))
        told["duration", "recorded"] = [[float(len(samples))] for samples in recorded]
        is_fake = np.array([clips[index].is_fake for index in chosen])
        sources = [clips[index].source for index in chosen]
        return Clips(recorded, {key: np.array(numbers) for key, numbers in told.items()}, is_fake, sources)

    return {
        "same pages": take(_draw(clips, train, 800, rng)),
        "held out": take(_draw(clips, held_out, 500, rng)),
    }


@pytest.fixture(scope="module")
def cells(parts: dict[str, Clips]) -> Cells:
    """What classifiers trained on each cue alone answer: of every fifth of their own pages' clips, and held out."""
    heard, held_out = parts["same pages"], parts["held out"]
    filled: Cells = {}
    for cue, form in heard.told:
        known, asked = heard.told[cue, form], held_out.told[cue, form]
        same, other = [], []
        for one in _classifiers():
            same.append(cross_val_predict(one, known, heard.is_fake, cv=5, method="predict_proba")[:, 1])
            other.append(one.fit(known, heard.is_fake).predict_proba(asked)[:, 1])
        for part, judged, answers in (("same pages", heard, same), ("held out", held_out, other)):
            filled[cue, form, part] = max((Cell(answer, judged) for answer in answers), key=Cell.area)
    print(_table(filled))
    return filled


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
    """Return three seconds at random; what is shorter is repeated, in whole frames, as training repeats frames."""
    start = int(rng.integers(max(1, len(samples) - WINDOW + 1)))
    window = samples[start : start + WINDOW]
    return np.resize(window[: len(window) // _LOG_MEL.hop_samples * _LOG_MEL.hop_samples], WINDOW)


def _classifiers() -> list[ClassifierMixin]:
    return [
        make_pipeline(StandardScaler(), LogisticRegression()),
        GradientBoostingClassifier(n_estimators=60, max_depth=2, random_state=0),
    ]


def _table(cells: Cells) -> str:
    """Return the areas under the curve and their intervals, a cue a line."""
    columns = [(form, part) for part in PARTS for form in FORMS]
    rows = [["cue", *(f"{form}, {part}" for form, part in columns)]]
    rows += [[cue, *(str(cells.get((cue, *column), "-")) for column in columns)] for cue in (*CUES, "duration")]
    return "".join("\n" + " | ".join(row) for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("cue", [*AUGMENTED_CUES, "duration"])
def test_cues_as_recorded_give_labels_away(cells: Cells, cue: str) -> None:
    assert max(cells[cue, "recorded", part].area() for part in PARTS) >= FOUND, _table(cells)


@pytest.mark.slow
@pytest.mark.parametrize("cue", AUGMENTED_CUES)
def test_augmentation_takes_cues_away(cells: Cells, cue: str) -> None:
    """Fails for each of them when windows are not augmented: the loss is then 0."""
    taken = np.mean([cells[cue, "recorded", part].area() - cells[cue, "augmented", part].area() for part in PARTS])
    assert taken >= TAKEN, f"{taken:.3f}{_table(cells)}"


@pytest.mark.slow
@pytest.mark.parametrize("cue", CUES)
def test_cues_as_a_network_hears_them_are_near_chance_on_sources_held_out(cells: Cells, cue: str) -> None:
    assert cells[cue, "augmented", "held out"].area() <= NEAR_CHANCE, _table(cells)


@pytest.mark.slow
def test_short_clips_are_seen_to_be_looped_whatever_augments_them(parts: dict[str, Clips]) -> None:
    for part in parts.values():
        short = np.array([len(samples) < 2.5 * SAMPLE_RATE_HZ for samples in part.recorded])
        for form in FORMS:
            likeness = part.told["repetition", form][:, 0]
            assert np.mean(likeness[short] > 0.98) > 0.9
            assert np.mean(likeness[~short] > 0.98) < 0.15


def test_names_tell_across_pages_and_the_speaker_less_within_them(clips: list[Clip]) -> None:
    train, held_out = ([clips[index] for index in part] for part in split_by_source(clips, HELD_OUT))
    order = np.random.default_rng(0).permutation(len(train))
    known, further = ([train[index] for index in part] for part in np.array_split(order, 2))
    for name in ("source", "speaker"):
        assert area_under_curve(*_by_name(known, further, name)) > 0.9
    # Not closed: some people are heard as humans only, some as fakes only, on pages that hold both classes, too.
    within = _within_pages(*_by_name(known, further, "speaker"), further)
    assert 0.55 < within < 0.7, within
    assert area_under_curve(*_by_name(train, held_out, "speaker")) < 0.75
    assert _within_pages(*_by_name(train, held_out, "speaker"), held_out) <= 0.56


def _within_pages(scores: Scores, is_fake: Labels, clips: Sequence[Clip]) -> float:
    """Return the mean area within the pages that hold both classes, weighed by the root of their size."""
    sources = np.array([clip.source for clip in clips])
    areas, weights = [], []
    for source in sorted(set(sources)):
        page = sources == source
        of_each = min(is_fake[page].sum(), (~is_fake[page]).sum())
        if of_each >= MIN_OF_EACH:
            areas.append(area_under_curve(scores[page], is_fake[page]))
            weights.append(np.sqrt(of_each))
    assert len(areas) > 5
    return float(np.average(areas, weights=weights))


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
        assert np.corrcoef(changed, as_is)[0, 1] > 0.85
        assert abs((changed - as_is).mean()) < 0.25 * as_is.std()
