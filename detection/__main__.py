"""`python -m detection COMMAND …`, also reachable as `callscreen detect COMMAND …`: argument parsing only."""

from __future__ import annotations

import sys
from argparse import REMAINDER, SUPPRESS, ArgumentParser, RawDescriptionHelpFormatter
from importlib import import_module

from detection.errors import DetectionError

# Each command is a module with add_arguments(parser) and run(args) -> exit code. Only the one asked for is imported:
# scoring needs no torch.
COMMANDS = {
    "score": ("detection.score", "say of recordings whether the voice sounds synthetic"),
    "render": ("detection.training.render", "make further synthetic clips to train on: vocoders' copies, local voices"),
    "train": ("detection.training.train", "train a model on a manifest of labelled clips"),
    "probe": ("detection.training.probe", "measure what a published encoder tells before it is trained"),
    "regress": ("detection.training.regression", "train specnet: a regression on published convolutions"),
    "calibrate": ("detection.measure.calibrate", "fit a model to calls of your own, count its false alarms"),
    "fuse": ("detection.measure.fuse", "fit a light model and its verifier into one decision, count its false alarms"),
    "evaluate": ("detection.measure.evaluate", "measure a model on a split: EER, AUC, curves, tables"),
    "export": ("detection.export", "turn a checkpoint into the model file that serving loads"),
}

EPILOG = """\
commands:
{commands}

examples:
  {prog} score voicemail.mp3
  {prog} train --data clips/manifest.csv --out runs/first
  {prog} evaluate --data clips/manifest.csv --split test --out report
  {prog} COMMAND --help tells what a command takes

train, evaluate and export need more packages: pip install 'callscreen[train]'"""

TRAIN_EXTRA = ("librosa", "matplotlib", "onnx", "onnxscript", "pyworld", "sklearn", "torch")


def main(argv: list[str] | None = None, prog: str = "callscreen detect") -> int:
    """Run one command; return the process's exit code: 0 done, 1 some files failed, 2 couldn't start."""
    listing = "\n".join(f"  {name:9} {summary}" for name, (_, summary) in COMMANDS.items())
    parser = ArgumentParser(
        prog=prog,
        usage=f"{prog} COMMAND …",
        description="Train, measure, export and use the detector of synthetic voices.",
        epilog=EPILOG.format(prog=prog, commands=listing),
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, help=SUPPRESS)
    parser.add_argument("rest", nargs=REMAINDER, help=SUPPRESS)
    asked = parser.parse_args(argv)
    try:
        return _run(asked.command, f"{prog} {asked.command}", asked.rest)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in TRAIN_EXTRA:
            raise
        print(f"error: {asked.command} needs {missing}: pip install 'callscreen[train]'", file=sys.stderr)
    except DetectionError as error:
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 2


def _run(command: str, prog: str, argv: list[str]) -> int:
    module = import_module(COMMANDS[command][0])
    parser = ArgumentParser(prog=prog, formatter_class=RawDescriptionHelpFormatter)
    module.add_arguments(parser)
    exit_code: int = module.run(parser.parse_args(argv))
    return exit_code


if __name__ == "__main__":
    sys.exit(main(prog="python -m detection"))
