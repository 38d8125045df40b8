"""`callscreen detect score`: scores recordings, one line each."""

from __future__ import annotations

import csv
import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Column, Table
from threadpoolctl import threadpool_limits

from detection.detector import DEFAULT_MODEL, VERIFIER, Detector, open_detector
from detection.errors import DataError, DetectionError
from detection.offline import score_samples
from detection.signal.audio import read_audio, read_channels
from detection.signal.channels import CHANNELS, apply_channel
from detection.types import SAMPLE_RATE_HZ, Samples

DESCRIPTION = """\
Say for each recording whether its voice sounds synthetic. A recording holds one voice, or, with --each-channel, one on
each channel. Each goes through the same steps as live calls, but the larger model scores all of it. Any rate and format
that libav reads."""

EPILOG = """\
examples:
  score interview.wav                      one file, as a table
  score call.wav --each-channel            a recorded call, one speaker a channel
  score clips/ --jsonl > scores.jsonl      a folder and all below it, one JSON object a file
  score --manifest clips.csv --split test --channel pstn --jsonl --jobs 4

Each JSON object has path, p_synthetic (0 to 1, ranks recordings), speech_s, windows (scored), state (synthetic,
human or indeterminate) and reason, with --each-channel also channel (from 1); or path and error for a file that cannot
be scored. The exit code is 1 if a file could not be scored."""

AUDIO_SUFFIXES = (
    *(".3gp", ".aac", ".aif", ".aiff", ".amr", ".au", ".caf", ".flac", ".m4a", ".mka", ".mkv", ".mov", ".mp3"),
    *(".mp4", ".oga", ".ogg", ".opus", ".spx", ".wav", ".weba", ".webm", ".wma"),
)
"""Suffixes of recordings in a folder; a file given by name is tried whatever its suffix."""


Result = dict[str, str | float | int]
OnProgress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class _Clip:
    label: str
    """Name in the output."""
    path: Path


def add_arguments(parser: ArgumentParser) -> None:
    """Add this command's arguments and help."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    add = parser.add_argument
    add("paths", metavar="PATH", nargs="*", type=Path, help="a recording, or a folder of recordings")
    add("--manifest", metavar="CSV", type=Path, help="score the files in its column `path`, relative to its folder")
    add("--split", metavar="NAME", help="only the manifest's rows with this value in column `split`")
    add(
        "--model", metavar="NAME_OR_PATH", default=VERIFIER or DEFAULT_MODEL,
        help=f"shipped or own model (default: %(default)s; live legs are first scored by {DEFAULT_MODEL})",
    )  # fmt: skip
    channel_help = f"telephone channel to send the audio through first: {', '.join(CHANNELS)} (default: %(default)s)"
    add("--channel", metavar="NAME", choices=list(CHANNELS), default="clean", help=channel_help)
    add("--each-channel", action="store_true", help="score each channel by itself: one speaker a channel")
    add("--jsonl", action="store_true", help="one JSON object a file instead of a table")
    add("--jobs", metavar="N", type=int, default=1, help="processes that share the files (default: %(default)s)")


def run(args: Namespace) -> int:
    """Score the recordings in `args`; return the exit code."""
    clips = _clips(args)
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("scoring", total=len(clips))
        results = _results(clips, args, lambda share: progress.update(task, completed=share))
        shown = chain.from_iterable(results)
        failed = _print_lines(shown) if args.jsonl else _print_table(shown)
    return 1 if failed else 0


def _clips(args: Namespace) -> list[_Clip]:
    clips = [clip for path in args.paths for clip in _clips_at(path)]
    if args.manifest:
        clips += _clips_in(args.manifest, args.split)
    elif args.split:
        raise DataError("--split: expected together with --manifest")
    if not clips:
        raise DataError("expected a file, a folder or --manifest CSV")
    return clips


def _clips_at(path: Path) -> list[_Clip]:
    if not path.is_dir():
        return [_Clip(str(path), path)]
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES)
    if not found:
        raise DataError(f"{path}: expected recordings in this folder, found none")
    return [_Clip(str(file), file) for file in found]


def _clips_in(manifest: Path, split: str | None) -> list[_Clip]:
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{manifest}: cannot be read as CSV: {error}") from error
    needed = ("path",) if split is None else ("path", "split")
    for column in needed:
        if rows and not rows[0].get(column):
            raise DataError(f"{manifest}: expected a column `{column}`")
    clips = [_Clip(row["path"], manifest.parent / row["path"]) for row in rows if split in (None, row.get("split"))]
    if not clips:
        raise DataError(f"{manifest}: expected rows" + (f" with split {split!r}" if split else "") + ", found none")
    return clips


def _results(clips: list[_Clip], args: Namespace, on_progress: OnProgress) -> Iterator[list[Result]]:
    """Yield the results of each clip, in order: one, or one for each channel.

    `on_progress` is called with the number of clips done; without processes, also within a clip.
    """
    how = (args.model, args.channel, args.each_channel)
    score = _scorer(*how)
    if args.jobs <= 1:
        for done, clip in enumerate(clips):
            yield score(clip, on_progress=_part(on_progress, done))
            on_progress(done + 1)
        return
    with ProcessPoolExecutor(args.jobs, get_context("spawn"), _open_in_worker, how) as pool:
        for done, results in enumerate(pool.map(_score_in_worker, clips, chunksize=8), start=1):
            yield results
            on_progress(done)


def _part(on_progress: OnProgress, before: int, whole: int = 1) -> OnProgress:
    """Return what passes on the share done of one part, which comes after `before` others of the `whole`."""
    return lambda share: on_progress((before + share) / whole)


def _scorer(model: str, channel: str, each_channel: bool) -> Callable[..., list[Result]]:
    threadpool_limits(1, user_api="blas")  # the matrices are small: more threads only cost CPU time
    detector = open_detector(model)
    return partial(_score_clip, detector, channel, each_channel)


def _score_clip(
    detector: Detector, channel: str, each_channel: bool, clip: _Clip, on_progress: OnProgress = lambda _: None
) -> list[Result]:
    try:
        if not each_channel:
            return [{"path": clip.label, **_score(detector, channel, read_audio(clip.path), on_progress)}]
        channels = read_channels(clip.path)
        return [
            {
                "path": clip.label,
                "channel": number + 1,
                **_score(detector, channel, samples, _part(on_progress, number, len(channels))),
            }
            for number, samples in enumerate(channels)
        ]
    except DetectionError as error:
        return [{"path": clip.label, "error": str(error)}]


def _score(detector: Detector, channel: str, samples: Samples, on_progress: OnProgress) -> Result:
    """Score one voice; `on_progress` is called with the share of it that is done."""
    duration_s = len(samples) / SAMPLE_RATE_HZ
    result = score_samples(
        apply_channel(samples, channel), detector, on_score=lambda score: on_progress(score.end_s / duration_s)
    )
    return {
        "p_synthetic": round(result.p_synthetic, 6),
        "speech_s": round(result.speech_s, 2),
        "windows": result.windows,
        "state": result.state,
        "reason": result.reason,
    }


_in_worker: Callable[..., list[Result]]
"""Set once in each worker process, so that it opens the model once."""


def _open_in_worker(model: str, channel: str, each_channel: bool) -> None:
    global _in_worker
    _in_worker = _scorer(model, channel, each_channel)


def _score_in_worker(clip: _Clip) -> list[Result]:
    return _in_worker(clip)


def _print_lines(results: Iterable[Result]) -> int:
    """Print one JSON object a line as results arrive; return how many failed."""
    failed = 0
    for result in results:
        failed += "error" in result
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()
    return failed


def _print_table(results: Iterable[Result]) -> int:
    """Print all results as a table; return how many failed."""
    failed = 0
    numbers = (Column(name, justify="right") for name in ("p_synthetic", "speech_s", "windows"))
    state = Column("state", no_wrap=True)
    table = Table(Column("path", overflow="fold"), state, *numbers, Column("reason", overflow="fold"))
    for result in results:
        if "error" in result:
            failed += 1
            table.add_row(escape(str(result["path"])), "[red]error", "", "", "", escape(str(result["error"])))
            continue
        style = {"synthetic": "bold red", "human": "green"}.get(str(result["state"]), "yellow")
        channel = f" (channel {result['channel']})" if "channel" in result else ""
        table.add_row(
            escape(f"{result['path']}{channel}"),
            f"[{style}]{result['state']}",
            f"{result['p_synthetic']:.3f}",
            f"{result['speech_s']:.1f}",
            str(result["windows"]),
            str(result["reason"]),
        )
    Console().print(table)
    return failed
