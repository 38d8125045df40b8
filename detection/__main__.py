"""`callscreen detect COMMAND …`, also `python -m detection COMMAND …`: parses arguments and runs the command."""

from __future__ import annotations

import os
import sys
from argparse import REMAINDER, SUPPRESS, ArgumentParser, RawDescriptionHelpFormatter
from importlib import import_module
from pathlib import Path

from detection.errors import DataError, DetectionError

# Each command is a module with add_arguments(parser) and run(args) -> exit code. Only the requested one is imported:
# scoring must not need torch.
COMMANDS = {
    "score": ("detection.score", "score recordings: does the voice sound synthetic?"),
    "dataset": (
        "detection.datasets.command",
        "write a manifest of a published data set: ASVspoof, MLAAD, LibriSpeech …",
    ),
    "render": (
        "detection.training.render",
        "render further synthetic clips for training: vocoder copies, local engines",
    ),
    "train": ("detection.training.train", "train a model on a manifest of labelled clips"),
    "probe": ("detection.training.probe", "measure a published encoder before it is trained"),
    "regress": ("detection.training.regression", "train specnet: a regression on published convolutions"),
    "calibrate": (
        "detection.measure.calibrate",
        "fit a model's probabilities to your own calls, count its false alarms",
    ),
    "fuse": ("detection.measure.fuse", "fit the fusion of a light model and its verifier, count their false alarms"),
    "evaluate": ("detection.measure.evaluate", "measure a model on a split: EER, AUC, curves, tables"),
    "sign": ("detection.signing", "sign a model, so that a gateway with the public key opens no other"),
    "export": ("detection.export", "turn a checkpoint into the model file that serving loads"),
}

EPILOG = """\
commands:
{commands}

examples:
  {prog} score voicemail.mp3
  {prog} dataset asvspoof2019-la LA/ --out la.csv
  {prog} train --data clips/manifest.csv --out runs/first
  {prog} evaluate --data clips/manifest.csv --split test --out report
  {prog} COMMAND --help describes the options of a command

evaluate, calibrate and fuse need more packages: pip install 'callscreen[measure]'
render, train, probe, regress and export need: pip install 'callscreen[train]' (with torch, 2 GB)"""

TRAIN, MEASURE = "train", "measure"
PACKAGES = {
    TRAIN: ("librosa", "matplotlib", "onnx", "onnxscript", "pyworld", "sklearn", "torch"),
    MEASURE: ("matplotlib", "sklearn"),
}
"""What the extras of the distribution bring, by the names under which it is imported."""
MEASURING = ("calibrate", "fuse", "evaluate")
"""Commands that need the smaller extra."""


def main(argv: list[str] | None = None, prog: str = "callscreen detect") -> int:
    """Run one command; return the exit code: 0 done, 1 some files failed, 2 could not start."""
    listing = "\n".join(f"  {name:9} {summary}" for name, (_, summary) in COMMANDS.items())
    parser = ArgumentParser(
        prog=prog,
        usage=f"{prog} COMMAND …",
        description="Train, measure, export and use the detector of synthetic voices.",
        epilog=EPILOG.format(prog=prog, commands=listing),
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", nargs="?", choices=COMMANDS, help=SUPPRESS)
    parser.add_argument("rest", nargs=REMAINDER, help=SUPPRESS)
    asked = parser.parse_args(argv)
    if asked.command is None:
        parser.error(f"expected a command; `{prog} --help` lists them")
    try:
        return _run(asked.command, f"{prog} {asked.command}", asked.rest)
    except ModuleNotFoundError as error:
        print(f"{prog} {asked.command}: {_remedy(asked.command, error)}", file=sys.stderr)
    except DetectionError as error:
        print(f"{prog} {asked.command}: {error}", file=sys.stderr)
    except OSError as error:
        print(f"{prog} {asked.command}: {error.filename or 'cannot write'}: {error.strerror or error}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 2


def add_arguments(parser: ArgumentParser) -> None:
    """Add all commands with their options; a command whose packages are not installed gets its name alone."""
    parser.description = "Train, measure, export and use the detector of synthetic voices."
    parser.epilog = "example: callscreen detect score interview.wav"
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (module, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, formatter_class=RawDescriptionHelpFormatter)
        try:
            import_module(module).add_arguments(command)
        except ModuleNotFoundError as error:
            command.description = f"{summary[:1].upper()}{summary[1:]}. {_remedy(name, error)}"


def _remedy(command: str, error: ModuleNotFoundError) -> str:
    """Return which package the command lacks, and how to install it. Raises the error where no extra brings it."""
    missing, extra = (error.name or "").partition(".")[0], MEASURE if command in MEASURING else TRAIN
    if missing not in PACKAGES[TRAIN]:
        raise error
    return f"needs the package {missing}: pip install 'callscreen[{extra}]'"


def _run(command: str, prog: str, argv: list[str]) -> int:
    module = import_module(COMMANDS[command][0])
    parser = ArgumentParser(prog=prog, formatter_class=RawDescriptionHelpFormatter)
    module.add_arguments(parser)
    args = parser.parse_args(argv)
    if command in MEASURING:  # found now, not after all clips were scored
        for package in PACKAGES[MEASURE]:
            import_module(package)
        _refuse_unwritable(args.out)
    exit_code: int = module.run(args)
    return exit_code


def _refuse_unwritable(folder: Path) -> None:
    """Raise `DataError` where `folder` neither is nor can be made."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise DataError(f"--out: {existing} is not a folder that can be written")


if __name__ == "__main__":
    sys.exit(main(prog="python -m detection"))
