"""The training loop: random windows, averaged weights, validation after every epoch on held-out sources."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detection.backends.torch import load_weights, read_saved
from detection.errors import ModelError
from detection.models import LogOdds
from detection.training.bank import Joined, Ragged
from detection.training.data import Clip
from detection.training.losses import training_loss
from detection.training.sampling import PageSampler
from detection.training.settings import Settings

VALIDATION_HOP = 0.75
"""Step between validation windows, as a share of the window; the serving hop would cost more time than training."""
CHECKPOINT = ("run", "settings", "network", "average", "optimiser", "schedule", "followed", "history", "random")
"""Fields of a checkpoint."""


@dataclass(frozen=True)
class Epoch:
    """One line of the learning curve."""

    epoch: int
    train_loss: float
    error: Mapping[str, float]
    """Equal error rate of the validation clips, 0 to 1, by rendering."""

    @property
    def mean_error(self) -> float:
        """Mean over the renderings, for early stopping."""
        return float(np.mean(list(self.error.values())))


class WindowSampler:
    """Draws training windows: a clip by `PageSampler`, then a random rendering and position."""

    def __init__(
        self,
        clips: Sequence[Clip],
        indices: Sequence[int],
        renderings: Sequence[Ragged | Joined],
        n_frames: int,
        settings: Settings,
        teacher_log_odds: NDArray[np.float32] | None = None,
    ) -> None:
        """Take the renderings of all `clips`, and the teacher's log-odds of each clip, NaN for unknown."""
        chosen = [clips[index] for index in indices]
        self._pages = PageSampler(chosen, settings.temper, settings.anchors, settings.balanced)
        self.class_weights = torch.tensor(self._pages.class_weights, dtype=torch.float32)
        self._renderings = renderings
        self._indices = list(indices)
        self._is_fake = np.array([clip.is_fake for clip in chosen])
        names = {source: number for number, source in enumerate(sorted({clip.source for clip in chosen}))}
        self._sources = np.array([names[clip.source] for clip in chosen])
        self._teacher_log_odds = (
            np.full(len(clips), np.nan, np.float32) if teacher_log_odds is None else teacher_log_odds
        )
        self._n_frames = n_frames

    def batch(self, size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return frames ``(size, n_frames, n_features)`` float32, labels (1: synthetic), sources and teacher's
        log-odds."""
        drawn = self._pages.draw(size, rng)
        clips = [self._indices[position] for position in drawn]
        windows = torch.from_numpy(np.stack([self._window(clip, rng) for clip in clips]))
        labels = torch.from_numpy(self._is_fake[drawn].astype(np.int64))
        return windows, labels, torch.from_numpy(self._sources[drawn]), torch.from_numpy(self._teacher_log_odds[clips])

    def _window(self, clip: int, rng: np.random.Generator) -> NDArray[np.float32]:
        frames = self._renderings[int(rng.integers(len(self._renderings)))][clip]
        spare = len(frames) - self._n_frames
        start = rng.integers(spare + 1) if spare > 0 else 0
        return fill(frames[start : start + self._n_frames], self._n_frames)


def fill(frames: NDArray[np.generic], n_frames: int) -> NDArray[np.float32]:
    """Repeat frames until there are `n_frames`, as serving repeats clips shorter than a window."""
    return np.resize(frames, (n_frames, frames.shape[1])).astype(np.float32)


def windows_of(frames: NDArray[np.generic], n_frames: int, hop_frames: int) -> NDArray[np.float32]:
    """Return every window of a clip, shape ``(n_windows, n_frames, n_features)``; at least one."""
    starts = range(0, max(1, len(frames) - n_frames + 1), hop_frames)
    return np.stack([fill(frames[start : start + n_frames], n_frames) for start in starts])


def window_scores(
    network: nn.Module, rendering: Ragged, clips: Sequence[int], n_frames: int, hop_frames: int, batch: int = 16
) -> list[NDArray[np.float32]]:
    """Return the raw log-odds of every window, one array of shape ``(n_windows,)`` for each of `clips`."""
    served = LogOdds(network).eval()
    scores: list[NDArray[np.float32]] = []
    with torch.inference_mode():
        for start in range(0, len(clips), batch):
            windows = [windows_of(rendering[clip], n_frames, hop_frames) for clip in clips[start : start + batch]]
            log_odds = served(torch.from_numpy(np.concatenate(windows))).numpy()
            scores += np.split(log_odds, np.cumsum([len(part) for part in windows])[:-1])
    return scores


class Trainer:
    """One training run: the network, its weight average, and the state for resuming."""

    def __init__(self, network: nn.Module, sampler: WindowSampler, settings: Settings) -> None:
        self.network = network
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.settings = settings
        self.history: list[Epoch] = []
        self._sampler = sampler
        self._followed = 0
        self.steps_per_epoch = settings.windows_per_epoch // settings.batch
        self._optimiser = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, settings.learning_rate, total_steps=settings.epochs * self.steps_per_epoch, pct_start=0.15
        )

    def epoch(self) -> Iterator[float]:
        """Train one epoch; yield the loss of each step, for progress display."""
        self.network.train()
        rng = np.random.default_rng((self.settings.seed, len(self.history)))
        for _ in range(self.steps_per_epoch):
            frames, labels, sources, teacher_log_odds = self._sampler.batch(self.settings.batch, rng)
            if self.settings.masks:
                frames = blank_stripes(frames, self.settings.masks, rng)
            with torch.autocast("cpu", torch.bfloat16):  # twice as fast where the CPU supports it
                logits = self.network(frames)
            loss = training_loss(
                logits.float(), labels, sources, teacher_log_odds, self._sampler.class_weights, self.settings
            )
            self._optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            self._optimiser.step()
            self._schedule.step()
            self._follow()
            yield float(loss.detach())

    def _follow(self) -> None:
        self._followed += 1
        # At first the average follows faster; otherwise the random initialisation would remain in it for epochs.
        share = 1 - min(self.settings.average, self._followed / (self._followed + 10))
        with torch.no_grad():
            for mine, theirs in zip(
                self.average.state_dict().values(), self.network.state_dict().values(), strict=True
            ):
                if mine.dtype.is_floating_point:
                    mine.lerp_(theirs, share)
                else:
                    mine.copy_(theirs)

    def validated(self, error: Mapping[str, float], train_loss: float) -> bool:
        """Append the averaged network's errors to the history as the next epoch; return whether it is the best one."""
        epoch = Epoch(len(self.history) + 1, train_loss, error)
        best = min((past.mean_error for past in self.history), default=float("inf"))
        self.history.append(epoch)
        return epoch.mean_error < best

    @property
    def done(self) -> bool:
        """Whether the last epoch is done, or the validation error has not improved for `patience` epochs."""
        if len(self.history) >= self.settings.epochs:
            return True
        errors = [past.mean_error for past in self.history]
        return len(errors) - 1 - int(np.argmin(errors)) >= self.settings.patience if errors else False

    def save(self, file: Path, run: Mapping[str, object]) -> None:
        """Write the state that `load` needs to resume exactly.

        `run` identifies the run besides its settings (model, data, ...) by plain values, which `load` compares.
        """
        written = file.with_name(f"{file.name}.part")
        torch.save(
            {
                "run": dict(run),
                "settings": asdict(self.settings),
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self._optimiser.state_dict(),
                "schedule": self._schedule.state_dict(),
                "followed": self._followed,
                "history": [asdict(epoch) for epoch in self.history],
                "random": torch.get_rng_state(),  # of dropout
            },
            written,
        )
        written.replace(file)  # atomic: an interrupted run resumes from its last complete epoch

    def load(self, file: Path, run: Mapping[str, object]) -> None:
        """Resume from a checkpoint of the same run.

        Raises:
            ModelError: not a checkpoint, or of another `run`, other settings or another architecture.
        """
        state = read_saved(file, "a checkpoint", CHECKPOINT)
        refuse_other(state["run"], run, file)
        refuse_other(state["settings"], asdict(self.settings), file)
        load_weights(self.network, state["network"], file)
        load_weights(self.average, state["average"], file)
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self._followed = state["followed"]
        self.history = [Epoch(**epoch) for epoch in state["history"]]
        torch.set_rng_state(state["random"])


def refuse_other(found: Mapping[str, object], asked: Mapping[str, object], file: Path) -> None:
    """Raise `ModelError` naming the first value that differs between the run that wrote `file` and this one."""
    for name in (*asked, *found):
        if found.get(name) != asked.get(name):
            raise ModelError(
                f"{file}: expected a checkpoint of this run with {name} {asked.get(name)!r}, got {found.get(name)!r}; "
                "use another --out"
            )


def blank_stripes(frames: Tensor, masks: int, rng: np.random.Generator) -> Tensor:
    """Set `masks` random stripes of up to an eighth of the bands, and as many of the frames, to the window's mean."""
    mean = frames.mean(dim=(1, 2), keepdim=True)
    blank = torch.zeros_like(frames, dtype=torch.bool)
    for axis in (1, 2):
        size = frames.shape[axis]
        positions = torch.arange(size)
        for _ in range(masks):
            width = torch.from_numpy(rng.integers(0, size // 8 + 1, len(frames)))
            start = torch.from_numpy(rng.integers(0, size, len(frames)))
            stripe = (positions >= start[:, None]) & (positions < (start + width)[:, None])
            blank |= stripe.unsqueeze(3 - axis)
    return torch.where(blank, mean, frames)
