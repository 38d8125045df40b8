"""`callscreen evidence`: makes keys; lists, opens and deletes files.  [IO]"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from types import ModuleType

from rich.console import Console
from rich.table import Table

from gateway.clock import utc_now
from gateway.config_loading import load
from gateway.errors import ConfigError
from gateway.evidence.folder import Folder

DESCRIPTION = """\
Audio evidence: some seconds around each alert, stored by a gateway whose settings have a table `evidence`. The files
are encrypted for the holder of a private key, which no gateway needs. First steps:

  callscreen evidence keygen evidence.key          where the files will be opened; prints the public key
  callscreen evidence list --config callscreen.toml
  callscreen evidence open FILE --key evidence.key
"""
EXAMPLE = "example: callscreen evidence {}"
KEYGEN = """\
Make a pair of age keys. The private key is written to FILE, readable by its owner alone; the public key is printed,
with the lines for the gateway's settings. Keep FILE away from the gateway, and keep a copy: without it nothing can be
opened. A file of `age-keygen` will do as well.
"""
OPEN = """\
Decrypt a file with a private key, and write it as FLAC, which any player takes. The file may come from the folder of
a gateway, or from GET /v1/evidence/CALL_ID/ALERT_ID. `age --decrypt` does the same. The facts in it are printed: whose
audio it is, which alert, and which seconds of the leg.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the commands."""
    parser.description, parser.formatter_class = DESCRIPTION, argparse.RawDescriptionHelpFormatter
    parser.epilog = "example: callscreen evidence list --folder evidence --json"
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_file_commands(commands.add_parser)
    _add_folder_commands(commands.add_parser)


def _add_file_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    keygen = add("keygen", help="make a pair of keys", description=KEYGEN, epilog=EXAMPLE.format("keygen evidence.key"))
    keygen.add_argument("file", type=Path, metavar="FILE", help="file for the private key; it must not exist yet")
    keygen.set_defaults(run=_keygen)
    opening = add(
        "open",
        help="decrypt a file, so that it can be played",
        description=OPEN,
        epilog=EXAMPLE.format("open alert.flac.age --key evidence.key"),
    )
    opening.add_argument("file", type=Path, metavar="FILE", help="an encrypted file (.flac.age)")
    opening.add_argument("--key", type=Path, required=True, metavar="FILE", help="file with the private key")
    opening.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="FLAC to write (here, the name of the file without .age); not there yet",
    )
    opening.add_argument("--json", action="store_true", help="the facts as one JSON object")
    opening.set_defaults(run=_open)


def _add_folder_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    show = add(
        "list",
        help="list the files",
        description="List the files, the oldest first.",
        epilog=EXAMPLE.format("list --config callscreen.toml"),
    )
    show.add_argument("--call", metavar="CALL_ID", help="only of this call")
    show.set_defaults(run=_list)
    delete = add(
        "delete",
        help="delete the files of a call",
        description="Delete all files of a call, whether the gateway is running or not. Exit code 1: there were none.",
        epilog=EXAMPLE.format("delete desk-17 --config callscreen.toml"),
    )
    delete.add_argument("call_id", metavar="CALL_ID", help="the call")
    delete.set_defaults(run=_delete)
    purge = add(
        "purge",
        help="delete the files that are too old",
        description="Delete the files that are older than the settings allow. A gateway does so every hour; this is "
        "for the time after `evidence` was switched off.",
        epilog=EXAMPLE.format("purge --config callscreen.toml --days 7"),
    )
    purge.add_argument("--days", type=_days, metavar="N", help="age in days (default: `max_days` of the settings)")
    purge.set_defaults(run=_purge)
    for command in (show, delete, purge):
        where = command.add_mutually_exclusive_group()
        where.add_argument("--config", type=Path, metavar="FILE", help="settings, as for `serve`")
        where.add_argument("--folder", type=Path, metavar="FOLDER", help="the evidence folder, instead of --config")
        command.add_argument("--json", action="store_true", help="JSON instead of text")
    for command in (show, delete):
        command.add_argument("--tenant", help="only of this tenant")


def _keygen(args: argparse.Namespace) -> int:
    private, public = _age().new_pair()
    _write_new(args.file, f"# created: {utc_now():%Y-%m-%dT%H:%M:%SZ}\n# public key: {public}\n{private}\n".encode())
    sys.stdout.write(
        f"{public}\n\n# for the settings file; the private key is in {args.file} alone\n"
        f'[evidence]\nfolder = "/var/lib/callscreen/evidence"\npublic_keys = ["{public}"]\n'
    )
    return 0


def _list(args: argparse.Namespace) -> int:
    entries = [entry.facts() for entry in _folder(args)[0].entries(args.call, args.tenant)]
    if args.json:
        print(json.dumps(entries, indent=2))  # noqa: T201
        return 0
    table = Table("stored", "tenant", "call", "leg", "alert", "bytes", box=None, header_style="bold")
    for entry in entries:
        names = ("stored", "tenant", "call_id", "leg", "alert_id", "size_bytes")
        table.add_row(*(str(entry[name]) if entry[name] is not None else "" for name in names))
    Console(highlight=False, width=200 if not sys.stdout.isatty() else None).print(table)
    return 0


def _open(args: argparse.Namespace) -> int:
    from gateway.evidence.clip import tags_of  # only now: libav takes a while to load

    decrypt = _age().decryption(args.key)
    try:
        data = args.file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{args.file}: {error.strerror}") from None
    try:
        flac = decrypt(data)
        tags = tags_of(flac)
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"{args.file}: {error}") from None
    out = args.out or Path(args.file.name.removesuffix(".age"))
    _write_new(out, flac)
    facts = {name.lower(): value for name, value in tags.items() if name != "encoder"} | {"file": str(out)}
    lines = (
        json.dumps(facts, indent=2) if args.json else "\n".join(f"{name:12} {value}" for name, value in facts.items())
    )
    print(lines)  # noqa: T201
    return 0


def _delete(args: argparse.Namespace) -> int:
    folder, _ = _folder(args)
    deleted = _changed(folder, lambda: folder.delete(args.call_id, args.tenant))
    _tell(args, deleted)
    return 0 if deleted else 1


def _purge(args: argparse.Namespace) -> int:
    folder, max_days = _folder(args)
    days = args.days or max_days
    if days is None:
        raise ConfigError("--days: required with --folder, because no settings are read")
    _tell(args, _changed(folder, lambda: folder.purge(utc_now() - timedelta(days=days))))
    return 0


def _tell(args: argparse.Namespace, deleted: int) -> None:
    print(json.dumps({"deleted": deleted}) if args.json else f"{deleted} files deleted")  # noqa: T201


def _folder(args: argparse.Namespace) -> tuple[Folder, float | None]:
    """Return the folder, and `max_days` if settings were read. Raises ConfigError."""
    path, max_days = args.folder, None
    if path is None:
        settings = load(args.config).evidence
        if settings is None:
            raise ConfigError("evidence: not set in this configuration; give --config, or the folder with --folder")
        path, max_days = settings.folder, settings.max_days
    if not path.is_dir():
        raise ConfigError(f"evidence.folder: {path} is not there; expected the folder that a gateway has written to")
    return Folder(path), max_days


def _changed(folder: Folder, change: Callable[[], int]) -> int:
    try:
        return change()
    except OSError as error:
        raise ConfigError(f"evidence.folder: {folder.path} cannot be changed: {error.strerror}") from None


def _age() -> ModuleType:
    """Import the module for age keys. Raises ConfigError if its package is missing."""
    try:
        return import_module("gateway.evidence.age")
    except ImportError as error:
        raise ConfigError(f"{error}; install it with `pip install 'callscreen[evidence]'`") from None


def _write_new(file: Path, data: bytes) -> None:
    """Write a new file that only its owner can read. Raises ConfigError, also if it exists."""
    try:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as new:  # noqa: PTH123  by descriptor
            new.write(data)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None


def _days(text: str) -> float:
    try:
        if 0 < (days := float(text)) <= 36_500:
            return days
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected a number of days, more than 0, got {text!r:.40}")
