"""`callscreen feedback export`: exports feedback on alerts as a manifest for training.  [IO]"""

from __future__ import annotations

import argparse
import csv
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import TextIO

from gateway.alerts.labels import COLUMNS, labels
from gateway.config_loading import load
from gateway.errors import ConfigError

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Prefixes that spreadsheets take for a formula; a quote before them makes the value a text."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `run`."""
    parser.description = "What people said of alerts, for calibration and retraining."
    parser.epilog = "example: callscreen feedback export --journal callscreen.sqlite3 --out feedback.csv"
    export = parser.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "export",
        help="write a manifest of the alerts that were confirmed or dismissed",
        description="Write a CSV with a row for each alert that was confirmed or dismissed. The journal is read, "
        "also while a gateway writes it.",
        epilog="example: callscreen feedback export --journal callscreen.sqlite3 --out feedback.csv",
    )
    export.add_argument("--config", type=Path, metavar="FILE", help="as for `serve`; names the journal")
    export.add_argument("--journal", type=Path, metavar="FILE", help="the journal, without a configuration")
    export.add_argument("--out", type=Path, metavar="FILE", help="CSV to write (standard output)")
    export.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the manifest; return the exit code. Raises ConfigError."""
    path = load(args.config, journal=args.journal).journal
    if not path.is_file():
        raise ConfigError(f"journal: expected the file of a gateway, got {path}, which does not exist")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as reader:
            reader.text_factory = lambda stored: stored.decode("utf-8", "replace")
            if args.out is None:
                write(reader, sys.stdout)
            else:
                with args.out.open("w", newline="", encoding="utf-8") as file:
                    write(reader, file)
    except sqlite3.Error as error:
        raise ConfigError(f"journal: {path} cannot be read: {error}") from None
    except OSError as error:
        raise ConfigError(f"--out: {args.out}: {error.strerror}") from None
    return 0


def write(reader: sqlite3.Connection, file: TextIO) -> None:
    """Write the rows of `labels` as CSV."""
    rows = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    rows.writeheader()
    for row in labels(reader):
        rows.writerow({name: _as_text(name, value) for name, value in row.items()})


def _as_text(name: str, value: object) -> object:
    """Quote a value that a spreadsheet could take for a formula, since names and notes are untrusted."""
    if name not in ("log_odds", "p") and isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return value
