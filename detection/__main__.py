"""`callscreen detect COMMAND …`, also `python -m detection COMMAND …`: parses arguments and runs the command."""

from __future__ import annotations

import sys
from argparse import REMAINDER, SUPPRESS, ArgumentParser, RawDescriptionHelpFormatter
from importlib import import_module

from detection.errors import DetectionError

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

train, evaluate and export need more packages: pip install 'callscreen[train]'"""

INSTALL_TRAIN = "pip install 'callscreen[train]'"
TRAIN_EXTRA = ("librosa", "matplotlib", "onnx", "onnxscript", "pyworld", "sklearn", "torch")


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
    parser.add_argument("command", choices=COMMANDS, help=SUPPRESS)
    parser.add_argument("rest", nargs=REMAINDER, help=SUPPRESS)
    asked = parser.parse_args(argv)
    try:
        return _run(asked.command, f"{prog} {asked.command}", asked.rest)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in TRAIN_EXTRA:
            raise
        print(f"error: {asked.command} needs {missing}: {INSTALL_TRAIN}", file=sys.stderr)
    except DetectionError as error:
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 2


def add_arguments(parser: ArgumentParser) -> None:
    """Add all commands with their options; a command whose packages are not installed gets its name alone."""
    parser.description = "Train, measure, export and use the detector of synthetic voices."
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (module, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, formatter_class=RawDescriptionHelpFormatter)
        try:
            import_module(module).add_arguments(command)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in TRAIN_EXTRA:
                raise
            command.description = f"{summary[:1].upper()}{summary[1:]}. Needs the training packages: {INSTALL_TRAIN}"


def _run(command: str, prog: str, argv: list[str]) -> int:
    module = import_module(COMMANDS[command][0])
    parser = ArgumentParser(prog=prog, formatter_class=RawDescriptionHelpFormatter)
    module.add_arguments(parser)
    exit_code: int = module.run(parser.parse_args(argv))
    return exit_code


if __name__ == "__main__":
    sys.exit(main(prog="python -m detection"))
