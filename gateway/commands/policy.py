"""`callscreen policy check` and `policy show`: whether a policy file is right, and what it says of a leg.  [IO]"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.table import Table

from gateway.ingest.events import Direction, Role
from gateway.policy import CONDITIONS, KEYS, Band, Source, read

CHOICES = {"source": get_args(Source), "role": get_args(Role), "direction": get_args(Direction), "band": get_args(Band)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `check` and `show` read."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    checker = commands.add_parser(
        "check", help="check a policy file", description="Check a policy file. Exit code 2: it would be refused."
    )
    checker.add_argument("file", type=Path, metavar="FILE")
    checker.set_defaults(run=check)
    shower = commands.add_parser(
        "show",
        help="show which values hold for a leg, and which rule gives each",
        description="Show which values hold for a leg that is as the options say. A rule that asks for what is not "
        "given does not fit.",
    )
    shower.add_argument("file", type=Path, metavar="FILE")
    for condition in CONDITIONS:
        choices = CHOICES.get(condition)
        shower.add_argument(f"--{condition}", choices=choices, help=f"{condition} of the leg")
    shower.set_defaults(run=show)


def check(args: argparse.Namespace) -> int:
    """Say that the file is right; returns the exit code. Raises ConfigError: it is not."""
    loaded = read(args.file)
    print(f"{args.file}: ok, {len(loaded.policy.rule)} rules, version {loaded.version}")  # noqa: T201
    return 0


def show(args: argparse.Namespace) -> int:
    """Show what holds for a leg; returns the exit code. Raises ConfigError: the file is not right."""
    facts = {key: value for key in CONDITIONS if (value := getattr(args, key)) is not None}
    held = read(args.file).policy.resolve(facts)
    table = Table("key", "value", "from", box=None, header_style="bold")
    for key in KEYS:
        if key in held:
            value, origin = held[key].value, held[key].origin
            table.add_row(key, str(value).lower(), origin)
        else:
            table.add_row(key, "-", "settings")
    Console(highlight=False, soft_wrap=True).print(table)
    return 0
