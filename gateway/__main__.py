"""The console command: `callscreen serve`, `callscreen watch`, and what the other packages bring.  [IO]"""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

from gateway import asterisk, attach, watch
from gateway.config import ENV_PREFIX, Settings, load
from gateway.errors import CallscreenError

COMMANDS = "callscreen.commands"
"""Entry-point group of further commands; this is how `callscreen sim` works without an import of `sim`."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    for command in entry_points(group=COMMANDS):
        if argv[:1] == [command.name]:
            return int(command.load()(argv[1:]))
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args))
    except CallscreenError as error:
        print(f"callscreen: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="callscreen",
        description="Says, live and per speaker, whether a voice on a phone call sounds synthetic.",
        epilog="Further commands: `callscreen sim --help` (calls that are not real), "
        "`callscreen detect --help` (score files, train, evaluate).",
    )
    parser.add_argument("--version", action="version", version=f"callscreen {version('callscreen')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve",
        help="run the gateway",
        description="Run the gateway: calls in, events out, on one port. Ends in good order on SIGTERM and Ctrl-C.",
        epilog=_settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.add_argument("--config", type=Path, metavar="FILE", help="TOML file with any of the settings below")
    serve.add_argument("--host", help="address to listen on (127.0.0.1)")
    serve.add_argument("--port", type=int, help="port to listen on (8080); 0 takes a free one and prints it")
    serve.add_argument("--journal", type=Path, metavar="FILE", help="SQLite file that holds every event")
    serve.add_argument("--workers", type=int, metavar="N", help="processes that hear calls (1)")
    serve.add_argument("--model", metavar="NAME_OR_PATH", help="a shipped model's name or the path of an .onnx file")
    serve.set_defaults(run=_serve)
    follow = commands.add_parser("watch", help="follow the events of a gateway in this terminal")
    watch.add_arguments(follow)
    follow.set_defaults(run=watch.run)
    desk = commands.add_parser("attach", help="listen to the softphone on this computer: its microphone and speaker")
    attach.add_arguments(desk)
    desk.set_defaults(run=attach.run)
    doctor = commands.add_parser(
        "doctor",
        help="look at a configuration and name what is missing",
        description="Look at a configuration before it is served: ports, TLS, tokens, doors, model, journal, WebRTC "
        "addresses, sound devices. Exit code 0: it can be served; 1: something is missing.",
    )
    doctor.add_argument("--config", type=Path, metavar="FILE", help="as for `serve`; the environment counts too")
    doctor.add_argument("--json", action="store_true", help="one JSON array instead of a table")
    doctor.set_defaults(run=_doctor)
    pbx = commands.add_parser("asterisk", help="let an Asterisk send its calls")
    asterisk.add_arguments(pbx)
    return parser


def _serve(args: argparse.Namespace) -> int:
    settings = load(
        args.config, host=args.host, port=args.port, journal=args.journal, model=args.model, workers=args.workers
    )
    from gateway import app  # only now: the model and WebRTC take a second to import, and --help should not

    app.run(settings)
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from gateway import doctor  # only now: it opens the model, as `serve` does

    return doctor.run(args.config, args.json)


def _settings_help() -> str:
    lines = [
        "settings, in this order: command line, environment, --config file, default",
        "",
    ]
    for name, field in Settings.model_fields.items():
        default = "" if field.default_factory or field.default in (None, ()) else f" [{field.default}]"
        lines.append(f"  {ENV_PREFIX}{name.upper()}{default}\n      {field.description}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
