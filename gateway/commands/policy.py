"""`callscreen policy check` and `policy show`: check a policy file, and show its values for a leg.  [IO]"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.table import Table

from gateway.ingest.events import Direction, Role
from gateway.policy import CONDITIONS, KEYS, Band, Source, read

CHOICES = {"source": get_args(Source), "role": get_args(Role), "direction": get_args(Direction), "band": get_args(Band)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `check` and `show`."""
    parser.description = "Check a policy file, and show what it says of a leg, before a gateway reads it."
    parser.epilog = "example: callscreen policy show policy.toml --role agent"
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    checker = commands.add_parser(
        "check",
        help="check a policy file",
        description="Check a policy file. Exit code 2: it is invalid.",
        epilog="example: callscreen policy check policy.toml",
    )
    checker.add_argument("file", type=Path, metavar="FILE", help="policy file (TOML)")
    checker.set_defaults(run=check)
    shower = commands.add_parser(
        "show",
        help="show the values for a leg, and the rule that sets each",
        description="Show the values for a leg described by the options. A condition on a fact that is not given "
        "is not met.",
        epilog="example: callscreen policy show policy.toml --source twilio --role customer",
    )
    shower.add_argument("file", type=Path, metavar="FILE", help="policy file (TOML)")
    shower.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    for condition in CONDITIONS:
        choices = CHOICES.get(condition)
        shower.add_argument(f"--{condition}", choices=choices, help=f"{condition} of the leg")
    shower.set_defaults(run=show)


def check(args: argparse.Namespace) -> int:
    """Check a policy file; return the exit code. Raises ConfigError if it is invalid."""
    loaded = read(args.file)
    print(f"{args.file}: ok, {len(loaded.policy.rule)} rules, version {loaded.version}")  # noqa: T201
    return 0


def show(args: argparse.Namespace) -> int:
    """Show the values for a leg; return the exit code. Raises ConfigError if the file is invalid."""
    facts = {key: value for key in CONDITIONS if (value := getattr(args, key)) is not None}
    resolved = read(args.file).policy.resolve(facts)
    if args.json:
        values = {key: {"value": one.value, "from": one.origin} for key, one in resolved.items()}
        print(json.dumps(values))  # noqa: T201
        return 0
    table = Table("key", "value", "from", box=None, header_style="bold")
    for key in KEYS:
        if key in resolved:
            value, origin = resolved[key].value, resolved[key].origin
            table.add_row(key, str(value).lower(), origin)
        else:
            table.add_row(key, "-", "settings")
    Console(highlight=False, soft_wrap=True).print(table)
    return 0
