"""`callscreen asterisk tap`: sends each party of an Asterisk's calls to a gateway.  [IO]"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys

from websockets.exceptions import InvalidHandshake

from gateway.client.ari import AriError, Tap, TappedLeg, Target, ToAudioSocket, ToWebsocket

EPILOG = """\
Asterisk needs http.conf (enabled) and a user in ari.conf; passwords and secrets may come from the environment.

  callscreen asterisk tap http://pbx:8088 --user callscreen --audiosocket gateway:9092
  callscreen asterisk tap http://pbx:8088 --user callscreen --websocket callscreen
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `run`."""
    parser.description = "Bring the calls of an Asterisk to a gateway."
    parser.epilog = (
        "example: callscreen asterisk tap http://127.0.0.1:8088 --user callscreen --audiosocket 127.0.0.1:9092"
    )
    tap = parser.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "tap",
        help="send each party of each bridged call to a gateway",
        description="Follow an Asterisk by ARI, and send each party of each bridged call separately to a gateway.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    tap.add_argument("url", metavar="URL", help="URL of Asterisk's HTTP server, e.g. http://127.0.0.1:8088")
    tap.add_argument("--user", required=True, help="user in ari.conf")
    tap.add_argument("--password", default=os.environ.get("ARI_PASSWORD", ""), help="(else from ARI_PASSWORD)")
    tap.add_argument("--app", default="callscreen", help="name of the Stasis application (callscreen)")
    target = tap.add_mutually_exclusive_group(required=True)
    target.add_argument("--audiosocket", metavar="HOST:PORT", help="address of the gateway's AudioSocket port")
    target.add_argument(
        "--websocket", metavar="SECTION", help="section of websocket_client.conf with the gateway's URL"
    )
    tap.add_argument(
        "--secret",
        default=os.environ.get("AUDIOSOCKET_SECRET", ""),
        help="the gateway's audiosocket.secret (else from AUDIOSOCKET_SECRET)",
    )
    tap.add_argument("--codec", choices=("slin", "slin16"), help="codec of the audio (slin; over a websocket slin16)")
    tap.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Tap until stopped; return the exit code."""
    if args.audiosocket and not args.secret:
        return _fail("--secret: expected the gateway's audiosocket.secret")
    try:
        asyncio.run(_tap(args, _target(args)))
    except (AriError, InvalidHandshake, OSError) as error:
        return _fail(str(error))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    return 0


def _target(args: argparse.Namespace) -> Target:
    if args.websocket:
        return ToWebsocket(args.websocket, args.codec or "slin16")
    return ToAudioSocket(args.audiosocket, args.secret, args.codec or "slin")


async def _tap(args: argparse.Namespace, target: Target) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)

    def show(leg: TappedLeg) -> None:
        sys.stdout.write(f"call {target.call_id(leg.linkedid)}  leg {leg.leg}  {leg.name}\n")
        sys.stdout.flush()

    tap = Tap(args.url, args.user, args.password, target, args.app, on_tapped=show, on_fault=_show_fault)
    await tap.run()


def _show_fault(text: str) -> None:
    sys.stderr.write(f"callscreen asterisk tap: {text}\n")


def _fail(text: str) -> int:
    _show_fault(text)
    return 1
