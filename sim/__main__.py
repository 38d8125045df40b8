"""`callscreen sim`, also `python -m sim`: play simulated telephone calls against a real gateway."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console

from gateway import logs
from sim import demo, inprocess, listing, replay, report, voices
from sim.caller import Gateway
from sim.clips import ClipError, Library, from_folder, from_manifest
from sim.files import load
from sim.fleet import FleetError
from sim.load import command as load_command
from sim.load.drive import LoadError
from sim.matrix import command as matrix_command
from sim.own import GatewayError, own_gateway
from sim.play import Play, play_scenario, play_virtually
from sim.prompts import human_prompts
from sim.scenario import Scenario, ScenarioError
from sim.terminal import standard_output
from sim.voices import EngineMissing

UNUSABLE = 2
INTERRUPTED = 130
"""Exit code of a shell for a command that was ended by SIGINT."""
EPILOG = """\
examples:
  callscreen sim demo                                     start a gateway, place calls, watch the alerts
  callscreen sim list                                     list the shipped scenarios
  callscreen sim run swap                                 in this process on a virtual clock: the same result each time
  callscreen sim run swap --serve                         over sockets, against a gateway started for it
  callscreen sim run smoke --gateway http://127.0.0.1:8080
  callscreen sim run busy --gateway https://gw.example.com --report out/
  callscreen sim run my.toml --gateway URL --manifest corpus/manifest.csv --split test
  callscreen sim matrix --data clips.csv --split test --report out/
  callscreen sim replay recording.wav                     a stereo recording of a call, one speaker on each channel
  callscreen sim load --calls 100 --ramp 10 --seconds 60  against a gateway started for it

exit codes: 0 all alerts correct, or load held; 1 not; 2 wrong usage, or no connection; 130 interrupted
"""


def main(argv: Sequence[str] | None = None, prog: str = "callscreen sim") -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog)
    add_arguments(parser)
    args = parser.parse_args(argv)
    try:
        if getattr(args, "report", None) is not None:
            args.report.mkdir(parents=True, exist_ok=True)  # now, not after all calls were played
        return int(args.run(args))
    except (ScenarioError, ClipError, FleetError, EngineMissing, GatewayError, LoadError) as error:
        print(f"sim: {error}", file=sys.stderr)
        return UNUSABLE
    except OSError as error:
        print(f"sim: {error.filename or 'cannot write'}: {error.strerror or error}", file=sys.stderr)
        return UNUSABLE
    except KeyboardInterrupt:
        return INTERRUPTED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the commands and their options."""
    parser.description = "Place simulated telephone calls at a real gateway, and check the alerts on each leg."
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    _add_run(commands)
    _add_load(commands)
    _add_matrix(commands)
    _add_replay(commands)
    _add(commands, "list", "list the shipped scenarios", "list").set_defaults(run=_list)
    for name, help_text, command, example in (
        ("show", "show the calls and expectations of a scenario", _show, "show swap"),
        ("validate", "check scenario files", _validate, "validate my.toml"),
    ):
        reading = _add(commands, name, help_text, example)
        reading.add_argument("scenario", metavar="SCENARIO", nargs="+", help="a TOML file, or a shipped one")
        reading.set_defaults(run=command)

    show = _add(commands, "demo", "start a gateway, place the demo's calls, check the alerts", "demo")
    show.add_argument("--model", metavar="NAME_OR_PATH", help="model of the gateway (the gateway's default)")
    show.add_argument("--svg", metavar="FILE", type=Path, help="save a picture of the terminal")
    _add_voices(show)
    show.set_defaults(run=_demo)

    render = _add(commands, "voices", "render the shipped synthetic voices again", "voices --out voices/")
    render.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder for the voices")
    render.set_defaults(run=_voices)


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, help_text: str, example: str
) -> argparse.ArgumentParser:
    description = f"{help_text[0].upper()}{help_text[1:]}."
    return commands.add_parser(
        name, help=help_text, description=description, epilog=f"example: callscreen sim {example}"
    )


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser(
        "run",
        help="play a scenario",
        description="Play a scenario: on a virtual clock against a gateway in this process, or over sockets.",
        epilog="example: callscreen sim run smoke --gateway http://127.0.0.1:8080 --report out/",
    )
    run.add_argument("scenario", metavar="SCENARIO", help="a TOML file, or a shipped one (`sim list`)")
    _add_where(run)
    run.add_argument("--report", metavar="DIR", type=Path, help="write report.json and junit.xml there")
    _add_tokens(run)
    run.add_argument("--speed", type=float, metavar="X", help="X times real time, over sockets (not with WebRTC)")
    run.add_argument("--seed", type=int, metavar="N", help="seed instead of the scenario's")
    _add_voices(run)
    run.set_defaults(run=_run)


def _add_load(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    load = commands.add_parser(
        "load",
        help="place many calls at once, and measure the capacity of the gateway",
        description="Place many two-party Twilio calls from several processes. Reports calls held, windows skipped, "
        "delay from audio sent to event received, and the gateway's CPU and memory over time.",
        epilog="example: callscreen sim load --calls 100 --ramp 10 --seconds 60 --report out/",
    )
    load.add_argument("--gateway", "--url", metavar="URL", help="gateway to call; without it, one is started")
    _add_tokens(load)
    load_command.add_arguments(load)


def _add_matrix(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    matrix = commands.add_parser(
        "matrix",
        help="measure the detector over codec, loss, noise and call length, with a manifest's voices",
        description="Play a manifest's voices as calls, on a virtual clock, under every combination of codec, loss, "
        "noise and length. Reports misses, false alarms per leg and per hour of human speech, time to alert and "
        "calibration of each, with 95 % intervals, as JSON and as one HTML page.",
        epilog="example: callscreen sim matrix --data clips.csv --split test --report out/",
    )
    matrix_command.add_arguments(matrix)


def _add_replay(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    recording = commands.add_parser(
        "replay",
        help="replay a stereo recording of a call, one speaker on each channel",
        description="Replay a stereo recording as a two-party Twilio call, one speaker on each channel: on a virtual "
        "clock against a gateway in this process, or over sockets. Shows the result for each channel.",
        epilog="example: callscreen sim replay recording.wav --legs outbound,inbound",
    )
    _add_where(recording)
    _add_tokens(recording)
    replay.add_arguments(recording)


def _add_where(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--gateway", "--url", metavar="URL", help="play over sockets, against this gateway: http://127.0.0.1:8080"
    )
    where.add_argument("--serve", action="store_true", help="play over sockets, against a gateway started for it")


def _add_tokens(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--token", default=os.environ.get("CALLSCREEN_TOKEN"), help="bearer token (default: CALLSCREEN_TOKEN)"
    )
    parser.add_argument(
        "--twilio-auth-token",
        metavar="TOKEN",
        default=os.environ.get("CALLSCREEN_TWILIO_AUTH_TOKEN"),
        help="key for signing Twilio calls (default: CALLSCREEN_TWILIO_AUTH_TOKEN)",
    )


def _add_voices(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "voices", "Default: the shipped synthetic voices, and the human prompts that Debian packages for Asterisk."
    )
    source = group.add_mutually_exclusive_group()
    source.add_argument(
        "--clips", metavar="DIR", type=Path, help="recordings in DIR/human and DIR/synthetic, or of humans in DIR"
    )
    source.add_argument("--manifest", metavar="CSV", type=Path, help="columns path, label[, split, system, speaker]")
    group.add_argument("--split", help="only rows of the manifest with this split")


def _library(args: argparse.Namespace) -> Library:
    if args.manifest is not None:
        return from_manifest(args.manifest, args.split)
    if args.split is not None:
        raise ClipError("--split: expected together with --manifest")
    return from_folder(args.clips or human_prompts())


def _run(args: argparse.Namespace) -> int:
    scenario = load(args.scenario).at_speed(args.speed)
    if args.seed is not None:
        scenario = msgspec.structs.replace(scenario, seed=args.seed)
    console = standard_output()
    if args.gateway or args.serve:
        played = asyncio.run(_over_sockets(args, scenario, console))
    else:
        logs.configure("error", "auto")
        played = play_virtually(scenario, _library(args), console)
    played.show(console)
    if args.report is not None:
        report.write(args.report, played.scenario, played.results, played.figures, played.failure)
        partial = " (partial)" if played.failure else ""
        console.print(f"written: {args.report / 'report.json'} and junit.xml{partial}", highlight=False)
    return INTERRUPTED if played.fleet.interrupted else _exit_code(played)


async def _over_sockets(args: argparse.Namespace, scenario: Scenario, console: Console) -> Play:
    library = await asyncio.to_thread(_library, args)
    if args.gateway:
        return await play_scenario(
            scenario, library, Gateway(args.gateway, args.token, args.twilio_auth_token), console
        )
    settings = inprocess.settings_for(scenario) | {"max_speed": max(2.0, 2 * scenario.speed)}
    async with own_gateway(settings=settings) as own:
        gateway = Gateway(own.url, settings.get("token"), settings.get("twilio_auth_token"), restart=own.restart)
        return await play_scenario(scenario, library, gateway, console)


def _list(_args: argparse.Namespace) -> int:
    listing.show_all(standard_output())
    return 0


def _show(args: argparse.Namespace) -> int:
    for name in args.scenario:
        listing.show(load(name), standard_output())
    return 0


def _validate(args: argparse.Namespace) -> int:
    wrong = 0
    for name in args.scenario:
        try:
            scenario = load(name)
            inprocess.check_settings(scenario)
        except ScenarioError as error:
            wrong += 1
            print(f"sim: {error}", file=sys.stderr)
        else:
            calls = sum(plan.count for plan in scenario.call)
            print(f"{name}: {calls} calls, {scenario.duration_s:g} s")
    return UNUSABLE if wrong else 0


def _demo(args: argparse.Namespace) -> int:
    return _exit_code(asyncio.run(demo.run(_library(args), standard_output(), args.svg, args.model)))


def _voices(args: argparse.Namespace) -> int:
    voices.render(args.out)
    return 0


def _exit_code(played: Play) -> int:
    if played.failure is not None:
        print(f"sim: {played.failure}", file=sys.stderr)
        return UNUSABLE
    return 0 if played.passed else 1


if __name__ == "__main__":
    sys.exit(main(prog="python -m sim"))
