"""`python -m detection finetune`: train `specnet` from DistillMOS's convolutions, several held-out groups at once.

All networks of a run hear the same stream of augmented windows, made once: for each group of sources one network of
each size that never hears the group (nor a system or a person in it), and one of each size that hears all. The largest
teaches the others of its group; so no network is taught by one that heard what it is judged on. Each clip's score by the
network that did not hear it is written down: grouped cross-validation, and what calibration is fitted on.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress, TextColumn
from torch import Tensor, nn

from detection.errors import DataError
from detection.features import ComplexSpectrum
from detection.measure.metrics import equal_error_rate
from detection.models import ARCHITECTURES, LogOdds
from detection.training.bank import FULL_SCALE, ORIGINAL, Bank, Ragged
from detection.training.data import Clip, file_hash, read_manifest
from detection.training.distillmos import read_convolutions
from detection.training.facts import gather_facts, write_facts
from detection.training.losses import training_loss
from detection.training.material import DEFAULT_CACHE
from detection.training.runlog import save_weights, write_config
from detection.training.sampling import FOLDS, split_by_source
from detection.training.settings import Settings
from detection.training.stream import batches

SIZES = ("specnet_full", "specnet", "specnet_light")
"""By falling cost; the first one asked for teaches the others."""
FROM_RANDOM = ("specnet_light",)
"""Networks whose convolutions fit no published ones."""
RANDOM_RATE = 2.0
"""Learning rate of a network from a random start, to that of the others."""
PUBLISHED_RATE = 0.2
"""Learning rate of published convolutions, to that of convolutions from a random start."""
CLASSIFIER_RATE = 0.1
"""Learning rate of the linear classifier, likewise: it takes thousands of numbers that say much the same."""
CLASSIFIER_PENALTY = 0.02
"""Weight of half the square of the classifier's weights in the loss, about that of the linear probe."""
JUDGED = (ORIGINAL, "pstn", "amrnb", "opus12")
WARM_UP = 0.1
"""Share of a run in which the learning rate rises; it then falls along a cosine."""


@dataclass
class Member:
    """One network of a run, with its average, which is what is judged and kept."""

    name: str
    """Of its architecture."""
    group: int | None
    """Group of sources that it never hears; None: it hears all."""
    network: nn.Module
    settings: Settings
    published: bool
    """Whether its convolutions are published ones."""
    teacher: Member | None = None
    frozen: bool = False
    """Whether only its classifier is trained."""
    parts: int = 1
    """Steps that it takes with one batch, each with its part: a random start needs more steps, not larger ones."""
    average: nn.Module = field(init=False)
    optimiser: torch.optim.Optimizer = field(init=False)
    steps: int = 0
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.average = copy.deepcopy(self.network).requires_grad_(False).eval()
        classifier = list(self.network.decide.parameters())
        kept = {id(parameter) for parameter in classifier}
        rest = [parameter for parameter in self.network.parameters() if id(parameter) not in kept]
        rate = self.settings.learning_rate
        groups = [{"params": classifier, "lr": CLASSIFIER_RATE * rate}]
        if self.frozen:
            for parameter in rest:
                parameter.requires_grad_(False)
        else:
            groups.append({"params": rest, "lr": rate * (PUBLISHED_RATE if self.published else 1.0)})
        self.optimiser = torch.optim.AdamW(groups, weight_decay=self.settings.weight_decay)
        self._rates = [group["lr"] for group in self.optimiser.param_groups]

    @property
    def title(self) -> str:
        """What it is called in a run's folder."""
        return f"{self.name}/{'whole' if self.group is None else f'without-{self.group}'}"

    def step(self, frames: Tensor, labels: Tensor, sources: Tensor, taught: Tensor, progress: float) -> Tensor:
        """Train on one batch, `progress` of the way through the run; return its log-odds of it, ``(batch,)``."""
        rise = min(1.0, progress / WARM_UP)
        fall = 0.5 + 0.5 * math.cos(math.pi * max(0.0, progress - WARM_UP) / (1 - WARM_UP))
        for group, rate in zip(self.optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * rise * fall + 1e-9
        said = torch.empty(len(labels), device=frames.device)
        for part in range(self.parts):
            rows = slice(part, None, self.parts)
            said[rows] = self._step(frames[rows], labels[rows], sources[rows], taught[rows])
        return said

    def _step(self, frames: Tensor, labels: Tensor, sources: Tensor, taught: Tensor) -> Tensor:
        with half_precision(frames.device.type):
            logits = self.network.train()(frames)
        logits = logits.float()
        weights = torch.ones(2, device=frames.device)
        loss = training_loss(logits, labels, sources, taught, weights, self.settings)
        penalty = self.network.decide.weight.square().sum() * (CLASSIFIER_PENALTY / 2)
        self.optimiser.zero_grad(set_to_none=True)
        (loss + penalty).backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self._follow()
        self.losses.append(loss.detach())
        return (logits[:, 1] - logits[:, 0]).detach()

    def _follow(self) -> None:
        self.steps += 1
        # Young averages forget faster, or the random start would linger in them.
        share = 1 - min(self.settings.average, self.steps / (self.steps + 10))
        with torch.no_grad():
            for mine, theirs in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
                if mine.dtype.is_floating_point:
                    mine.lerp_(theirs, share)
                else:
                    mine.copy_(theirs)


def half_precision(device: str) -> torch.autocast:
    """Return a context of 16-bit products on an accelerator; of 32-bit ones on a CPU, where few have faster ones."""
    return torch.autocast(device, torch.bfloat16, enabled=device != "cpu")


def spectra(samples: Tensor, spec: ComplexSpectrum) -> Tensor:
    """Return the frames ``(batch, n_frames, n_features)`` of samples ``(batch, n_samples)`` in [-1, 1].

    The same numbers as `spec.stream()`, on any device.
    """
    window = torch.hann_window(spec.fft_samples, device=samples.device)
    spectrum = torch.fft.rfft(samples.unfold(1, spec.fft_samples, spec.hop_samples) * window)
    power = (spectrum.real**2 + spectrum.imag**2).clamp(min=1e-10)
    compressed = spectrum * power ** ((spec.compression - 1) / 2)
    return torch.cat([compressed.real, compressed.imag], 2)


class Judge:
    """Scores clips, window by window, in some renderings: all of each network's held-out group."""

    def __init__(self, clips: Sequence[Clip], bank: Bank, device: str, batch: int = 128) -> None:
        self._clips = clips
        self._bank = bank
        self.data_hash = bank.hash
        self._device = device
        self._batch = batch

    def scores(self, member: Member, rendering: str, chosen: Sequence[int]) -> list[NDArray[np.float32]]:
        """Return the raw log-odds of every window of the clips `chosen`, one array ``(n_windows,)`` a clip."""
        contract = ARCHITECTURES[member.name].contract
        audio = self._bank.audio(rendering)
        pieces = [_windows(audio, clip, contract.window_samples) for clip in chosen]
        said = self.of_windows(member, np.concatenate(pieces), contract.features)
        return np.split(said, np.cumsum([len(piece) for piece in pieces])[:-1])

    def of_windows(self, member: Member, windows: NDArray[np.int16], features: object) -> NDArray[np.float32]:
        """Return the raw log-odds ``(n,)`` of windows ``(n, window_samples)``."""
        assert isinstance(features, ComplexSpectrum)
        served = LogOdds(member.average).eval()
        said = []
        with torch.inference_mode(), half_precision(self._device):
            for start in range(0, len(windows), self._batch):
                samples = torch.from_numpy(windows[start : start + self._batch]).to(self._device).float() / FULL_SCALE
                said.append(served(spectra(samples, features)).float().cpu().numpy())
        return np.concatenate(said)


def _windows(audio: Ragged, clip: int, window_samples: int) -> NDArray[np.int16]:
    """Return the windows of a clip, three quarters of a window apart, the last one ending with the clip."""
    samples = np.asarray(audio[clip])
    if len(samples) <= window_samples:
        return np.resize(samples, (1, window_samples))
    count = math.ceil((len(samples) - window_samples) / (0.75 * window_samples)) + 1
    starts = np.linspace(0, len(samples) - window_samples, count).round().astype(int)
    return np.stack([samples[start : start + window_samples] for start in starts])


@dataclass
class Schedule:
    """How far a run is: by its steps or, where it may take only so long, by its time; whichever is further."""

    n_batches: int
    limit_s: float = math.inf
    began_s: float = field(default_factory=time.monotonic)

    def progress(self, batch: int) -> float:
        """Return the share of the run that lies behind batch number `batch`, 0 to 1."""
        return min(1.0, max(batch / self.n_batches, (time.monotonic() - self.began_s) / self.limit_s))


class Run:
    """Trains all members on one stream."""

    def __init__(self, clips: Sequence[Clip], members: Sequence[Member], settings: Settings, device: str) -> None:
        self._is_fake = torch.tensor([int(clip.is_fake) for clip in clips])
        names = {source: number for number, source in enumerate(sorted({clip.source for clip in clips}))}
        self._sources = torch.tensor([names[clip.source] for clip in clips])
        self._members = members
        self._device = device
        self._rng = np.random.default_rng(settings.seed)
        self._heard = {
            group: np.isin(np.arange(len(clips)), range(len(clips)) if group is None else split_by_source(clips, [group])[0])
            for group in {member.group for member in members}
        }
        self._sizes = {group: max(2, round(settings.batch * float(heard.mean()))) for group, heard in self._heard.items()}

    def step(self, clips: Sequence[int], windows: Tensor, progress: float) -> None:
        """Train every member on those windows whose clips it may hear."""
        samples = windows.to(self._device, non_blocking=True).float() / FULL_SCALE
        labels, sources = (values[clips].to(self._device) for values in (self._is_fake, self._sources))
        said: dict[int, Tensor] = {}
        frames: dict[str, Tensor] = {}
        rows = {group: self._rows(clips, group) for group in self._heard}
        for member in self._members:
            contract = ARCHITECTURES[member.name].contract
            if member.name not in frames:
                spare = samples.shape[1] - contract.window_samples
                start = int(self._rng.integers(spare // 160 + 1)) * 160
                assert isinstance(contract.features, ComplexSpectrum)
                frames[member.name] = spectra(samples[:, start : start + contract.window_samples], contract.features)
            chosen = rows[member.group]
            taught = said.get(id(member.teacher), torch.full((len(chosen),), torch.nan, device=self._device))
            said[id(member)] = member.step(
                frames[member.name][chosen], labels[chosen], sources[chosen], taught, progress
            )

    def _rows(self, clips: Sequence[int], group: int | None) -> Tensor:
        """Return which rows of a batch are heard without `group`: always as many, so that kernels are chosen once."""
        allowed = np.flatnonzero(self._heard[group][np.asarray(clips)])
        return torch.from_numpy(np.resize(allowed, self._sizes[group])).to(self._device)


def standard_members(
    sizes: Sequence[str], groups: Iterable[int | None], published: Mapping[str, Tensor], settings: Settings, device: str
) -> list[Member]:
    """Return for each group one network of each of `sizes`; the first is the others' teacher."""
    members: list[Member] = []
    for group in groups:
        teacher: Member | None = None
        for name in sorted(sizes, key=SIZES.index):
            torch.manual_seed(settings.seed)
            architecture = ARCHITECTURES[name]
            network = architecture.build(architecture.contract)
            if name not in FROM_RANDOM:
                network.load_state_dict(published, strict=False)
            network = network.to(device, memory_format=torch.channels_last)
            published_too = name not in FROM_RANDOM
            own = settings if published_too else replace(settings, learning_rate=RANDOM_RATE * settings.learning_rate)
            member = Member(name, group, network, own, published_too, teacher, parts=1 if published_too else 3)
            teacher = teacher or member
            members.append(member)
    return members


DESCRIPTION = """\
Train the networks `specnet_full`, `specnet` and `specnet_light` from DistillMOS's published convolutions, on windows
that are augmented as they are drawn. For each group of sources held out, and once for all clips, one network of each
size is trained, all on the same stream; the largest teaches the others. Writes the weights of each network, the scores
of each clip by the network that did not hear it, and error rates by grouped cross-validation."""

EPILOG = """\
The encoder is not part of this package: pip download --no-deps distillmos==0.9.1

examples:
  finetune --data clips/manifest.csv --encoder distillmos-0.9.1-py3-none-any.whl --out runs/specnet --device cuda
  finetune --data clips/manifest.csv --encoder distillmos-0.9.1-py3-none-any.whl --out runs/small \\
      --size specnet specnet_light --group 0 1 --windows 20000     on a CPU: about two windows a second and network
  export runs/specnet/specnet --weights whole.pt --out weights/"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="MANIFEST.csv", help="list of labelled clips")
    add("--encoder", type=Path, required=True, metavar="WHEEL", help="the wheel of distillmos 0.9.1")
    add("--out", type=Path, required=True, help="folder of the run")
    add("--size", nargs="+", choices=SIZES, default=SIZES, help="networks to train; the largest teaches (all three)")
    add(
        "--group", type=int, nargs="*", choices=range(FOLDS), default=range(FOLDS),
        help=f"which of {FOLDS} groups of sources to hold out, one network of each size for each (all)",
    )  # fmt: skip
    add("--windows", type=int, default=ARCHITECTURES["specnet"].settings.windows_per_epoch, help="windows (%(default)s)")
    add("--minutes", type=float, default=math.inf, help="train for so long at most: the learning rate falls in time")
    add("--batch", type=int, default=ARCHITECTURES["specnet"].settings.batch, help="windows a step (%(default)s)")
    add("--seed", type=int, default=Settings.seed)
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(%(default)s)")
    add("--surroundings", type=Path, metavar="CSV", help="noises and rooms (noise_rir.csv beside data)")
    add("--cache", type=Path, default=DEFAULT_CACHE, help="(%(default)s)")
    add("--workers", type=int, default=2, help="processes that augment (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Train as told; 0 when done. Raises `DataError` or `ModelError` with one clear line."""
    if args.device != "cpu" and not torch.cuda.is_available():
        raise DataError(f"--device {args.device}: expected cpu, for PyTorch finds no accelerator here")
    if not args.minutes > 0:
        raise DataError(f"--minutes: expected more than 0; got {args.minutes:g}")
    torch.backends.cudnn.benchmark = True
    settings = replace(
        ARCHITECTURES["specnet"].settings, windows_per_epoch=args.windows, batch=args.batch, seed=args.seed
    )
    published = read_convolutions(args.encoder)
    clips = read_manifest(args.data, ("train", "val"))
    members = standard_members(args.size, [*args.group, None], published, settings, args.device)
    surroundings = args.surroundings or args.data.parent / "noise_rir.csv"
    bank = Bank(clips, surroundings, args.cache, max(1, args.workers))
    made_of = {
        "data_hash": bank.hash, "manifest_hash": file_hash(args.data), "encoder_hash": file_hash(args.encoder),
        "sizes": list(args.size), "groups": list(args.group), "minutes": args.minutes,
    }  # fmt: skip
    write_config(args.out, settings, made_of)
    train(clips, bank, surroundings, members, settings, Schedule(_n_batches(settings), args.minutes * 60), args)
    judge = Judge(clips, bank, args.device)
    for name in args.size:
        keep(args.out / name, [member for member in members if member.name == name], clips, judge, settings)
    return 0


def train(
    clips: Sequence[Clip],
    bank: Bank,
    surroundings: Path,
    members: Sequence[Member],
    settings: Settings,
    schedule: Schedule,
    args: argparse.Namespace,
) -> None:
    """Train `members` until the schedule ends, telling of the loss."""
    training = Run(clips, members, settings, args.device)
    longest = max(ARCHITECTURES[member.name].contract.window_samples for member in members)
    stream = batches(
        clips, bank.audio(ORIGINAL), surroundings, longest, settings, _n_batches(settings), args.workers
    )
    console = Console(stderr=True)
    with Progress(*Progress.get_default_columns(), TextColumn("{task.fields[note]}"), console=console) as shown:
        task = shown.add_task("training", total=1.0, note="")
        for number, (chosen, windows) in enumerate(stream):
            progress = schedule.progress(number)
            if progress >= 1:
                break
            training.step(chosen, windows, progress)
            if number % 20 == 0:
                note = " ".join(f"{float(torch.stack(member.losses[-20:]).mean()):.3f}" for member in members[:3])
                shown.update(task, completed=progress, note=f"{number * settings.batch} windows, loss {note}")
                if not console.is_terminal:
                    console.print(f"{progress:4.0%} {number * settings.batch} windows, loss {note}")


def _n_batches(settings: Settings) -> int:
    return settings.windows_per_epoch * settings.epochs // settings.batch


def keep(out: Path, members: Sequence[Member], clips: Sequence[Clip], judge: Judge, settings: Settings) -> None:
    """Write the weights of networks of one size, and scores and figures of what each did not hear."""
    out.mkdir(parents=True, exist_ok=True)
    judged: list[int] = []
    scores: dict[str, list[NDArray[np.float32]]] = {rendering: [] for rendering in JUDGED}
    for member in members:
        file = out / f"{member.title.split('/')[1]}.pt"
        save_weights(member.average.cpu() if member.group is None else member.average, member.name, file)
        if member.group is None:
            continue
        chosen = split_by_source(clips, [member.group])[1]
        judged += chosen
        for rendering in JUDGED:
            scores[rendering] += judge.scores(member, rendering, chosen)
    if not judged:
        return
    is_fake = np.array([clips[index].is_fake for index in judged])
    recipe = f"python -m detection finetune --data MANIFEST.csv --encoder WHEEL --out DIR; {asdict(settings)}"
    facts = gather_facts(scores, is_fake, judge.data_hash, recipe)
    write_facts(facts, out / "whole.pt")
    np.savez_compressed(
        out / "scores.npz",
        clip=np.array(judged),
        **{f"{name}_windows": np.array([len(part) for part in parts]) for name, parts in scores.items()},
        **{name: np.concatenate(parts).astype(np.float16) for name, parts in scores.items()},
    )
    said = "  ".join(
        f"{name} {equal_error_rate(np.array([part.mean() for part in parts]), is_fake):.1%}"
        for name, parts in scores.items()
    )
    Console(stderr=True).print(f"{members[0].name}: EER by grouped cross-validation {said}", soft_wrap=True)
