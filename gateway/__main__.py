"""The console command: `callscreen serve`, `callscreen watch`, and the commands of other packages.  [IO]"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points, version
from pathlib import Path

import shtab

from gateway.commands import asterisk, attach, settings_help, watch
from gateway.commands import evidence as evidence_command
from gateway.commands import feedback as feedback_command
from gateway.commands import policy as policy_command
from gateway.commands import token as token_command
from gateway.commands import verifier as verifier_command
from gateway.commands import webhooks as webhooks_command
from gateway.config_loading import load
from gateway.errors import CallscreenError

AddParser = Callable[..., argparse.ArgumentParser]
"""The method `add_parser` of a group of subcommands."""
COMMANDS = "callscreen.commands"
"""Entry-point group of commands from other packages: `callscreen sim` works without an import of `sim`.

Each entry point is a function ``main(argv, prog)`` in a module that also has ``add_arguments(parser)``.
"""
SUMMARIES = {
    "sim": "play simulated calls against a gateway, and check its alerts",
    "detect": "score recordings; train, calibrate and measure models",
}
"""Summaries of those commands for the list, which must not import them."""
SETTINGS = """\
settings, of the --config file (TOML) by their name, of the environment by the name in brackets. A table is given in the
environment as JSON. The command line wins over the environment, the environment over the file."""
FIRST_STEPS = """\
callscreen says, live and per speaker, whether a voice on a phone call sounds synthetic. First steps:

  callscreen sim demo                       start a gateway, place six simulated calls, see the alerts
  callscreen serve                          run a gateway on http://127.0.0.1:8080
  callscreen watch http://127.0.0.1:8080    follow its events in another terminal
  callscreen attach                         send it the softphone on this computer
  callscreen detect score RECORDING         score a recording, without a gateway

callscreen --help lists all commands. `callscreen doctor` checks a configuration before it is served."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv:
        print(FIRST_STEPS)
        return 0
    for command in entry_points(group=COMMANDS):
        if argv[0] == command.name:
            return int(command.load()(argv[1:], f"callscreen {command.name}"))
    args = parser().parse_args(argv)
    try:
        return int(args.run(args))
    except CallscreenError as error:
        print(f"callscreen: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def parser(*, whole: bool = False) -> argparse.ArgumentParser:
    """Return the parser of the command line.

    Args:
        whole: also add the arguments of the commands from other packages, which are imported for that.
    """
    parser = argparse.ArgumentParser(
        prog="callscreen",
        description="Says, live and per speaker, whether a voice on a phone call sounds synthetic.",
        epilog="`callscreen COMMAND --help` describes a command.",
    )
    parser.add_argument("--version", action="version", version=f"callscreen {version('callscreen')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(commands.add_parser)
    _add_others(commands.add_parser)
    for command in entry_points(group=COMMANDS):
        further = commands.add_parser(command.name, help=SUMMARIES.get(command.name, command.module))
        if whole:
            import_module(command.module).add_arguments(further)
    return parser


def _add_serve(add: AddParser) -> None:
    serve = add(
        "serve",
        help="run the gateway",
        description="Run the gateway: calls in, events out, on one port. Ends in good order on SIGTERM and Ctrl-C.",
        epilog=f"{SETTINGS}\n\n{settings_help.as_text()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.add_argument("--config", type=Path, metavar="FILE", help="TOML file with any of the settings below")
    serve.add_argument("--host", help="address to listen on (127.0.0.1)")
    serve.add_argument("--port", type=int, help="port to listen on (8080); 0 takes a free one and prints it")
    serve.add_argument("--journal", type=Path, metavar="FILE", help="SQLite file that holds every event")
    serve.add_argument("--workers", type=int, metavar="N", help="processes that serve calls (1)")
    serve.add_argument("--model", metavar="NAME_OR_PATH", help="a shipped model's name or the path of an .onnx file")
    serve.set_defaults(run=_serve)


def _add_others(add: AddParser) -> None:
    verifier_command.add_arguments(add("verifier", help="verify windows for gateways: a worker of a pool over NATS"))
    follow = add("watch", help="follow the events of a gateway in this terminal")
    watch.add_arguments(follow)
    follow.set_defaults(run=watch.run)
    softphone = add("attach", help="send the microphone and the loudspeaker of this computer")
    attach.add_arguments(softphone)
    softphone.set_defaults(run=attach.run)
    doctor = add(
        "doctor",
        help="check a configuration and name what is missing",
        description="Check a configuration before it is served: ports, TLS, tokens, endpoints, model, journal, WebRTC "
        "addresses, sound devices. Exit code 0: it can be served; 1: something is missing.",
        epilog="example: callscreen doctor --config callscreen.toml",
    )
    doctor.add_argument("--config", type=Path, metavar="FILE", help="as for `serve`; the environment counts too")
    doctor.add_argument("--json", action="store_true", help="one JSON array instead of a table")
    doctor.set_defaults(run=_doctor)
    pbx = add("asterisk", help="let an Asterisk send its calls")
    asterisk.add_arguments(pbx)
    token_command.add_arguments(add("token", help="create bearer tokens with scopes"))
    evidence_command.add_arguments(add("evidence", help="the stored audio around alerts: keys, files, opening"))
    feedback_command.add_arguments(add("feedback", help="export feedback on alerts"))
    webhooks_command.add_arguments(add("webhooks", help="dead letters, replay and test of webhooks"))
    policy_command.add_arguments(add("policy", help="check a policy file, and show its values for a leg"))
    completion = add(
        "completion",
        help="print a script that completes commands and options in a shell",
        description="Print a completion script for a shell.",
        epilog="bash: callscreen completion bash > ~/.local/share/bash-completion/completions/callscreen",
    )
    completion.add_argument("shell", choices=shtab.SUPPORTED_SHELLS, help="the shell")
    completion.set_defaults(run=_completion)


def _serve(args: argparse.Namespace) -> int:
    settings = load(
        args.config, host=args.host, port=args.port, journal=args.journal, model=args.model, workers=args.workers
    )
    from gateway import app  # only now: the model and WebRTC take a second to import, and --help should not

    app.run(settings)
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from gateway.commands import doctor  # only now: it opens the model, as `serve` does

    return doctor.run(args.config, args.json)


def _completion(args: argparse.Namespace) -> int:
    everything = parser(whole=True)
    _complete_paths(everything)
    print(shtab.complete(everything, args.shell))
    return 0


def _complete_paths(parser: argparse.ArgumentParser) -> None:
    """Complete file names for every argument that is a path."""
    for action in parser._actions:  # noqa: SLF001  argparse has no public list of actions
        if action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # shtab reads it
        for command in action.choices.values() if isinstance(action.choices, dict) else ():
            if isinstance(command, argparse.ArgumentParser):
                _complete_paths(command)


if __name__ == "__main__":
    sys.exit(main())
