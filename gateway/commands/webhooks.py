"""`callscreen webhooks`: dead letters, replay and test of a running gateway's webhooks.  [IO]"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

import httpx

from gateway import paths

ANSWER_S = 60.0
"""A test waits for the receiver."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the commands."""
    parser.description = "Events that a running gateway could not deliver, and tests of its webhooks."
    parser.epilog = "example: callscreen webhooks test fraud-desk"
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, words in (
        ("list-dead", _list_dead, "list the dead letters"),
        ("replay", _replay, "deliver the dead letters of a webhook again"),
        ("test", _test, "deliver a test event once, and show the result"),
    ):
        command = commands.add_parser(
            name,
            help=words,
            description=f"{words[0].upper()}{words[1:]}.",
            epilog=f"example: callscreen webhooks {name}{'' if name == 'list-dead' else ' fraud-desk'}",
        )
        if name == "list-dead":
            command.add_argument("--json", action="store_true", help="one JSON object a line")
        else:
            command.add_argument("webhook", metavar="NAME", help="`name` of the webhook in the settings")
        command.add_argument(
            "--url", default="http://127.0.0.1:8080", help="URL of the gateway (http://127.0.0.1:8080)"
        )
        command.add_argument(
            "--token",
            default=os.environ.get("CALLSCREEN_TOKEN"),
            help="bearer token with the scope admin (else from CALLSCREEN_TOKEN)",
        )
        command.set_defaults(run=_with_errors(run))


def _with_errors(run: Any) -> Any:
    """Turn a refusal of the gateway or a network error into a message and exit code 1."""

    def command(args: argparse.Namespace) -> int:
        try:
            return int(run(args))
        except httpx.HTTPStatusError as error:
            answer = error.response
            problem = answer.json() if answer.headers.get("content-type") == "application/problem+json" else {}
            sys.stderr.write(f"callscreen webhooks: {problem.get('detail', answer.reason_phrase)}\n")
        except httpx.ConnectError as error:
            sys.stderr.write(f"callscreen webhooks: --url {args.url}: {error}; is the gateway running there?\n")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            sys.stderr.write(f"callscreen webhooks: --url {args.url}: {error}\n")
        return 1

    return command


def _request(args: argparse.Namespace, method: str, path: str) -> Any:
    headers = {"Authorization": f"Bearer {args.token}"} if args.token else {}
    answer = httpx.request(
        method, args.url.rstrip("/") + paths.WEBHOOKS + path, headers=headers, timeout=ANSWER_S, trust_env=False
    )
    return answer.raise_for_status().json()


def _list_dead(args: argparse.Namespace) -> int:
    for letter in _request(args, "GET", "/dead")["dead"]:
        if args.json:
            sys.stdout.write(json.dumps(letter) + "\n")
            continue
        sys.stdout.write(
            "{webhook}  {event_id}  {type}  {attempts} attempts since {first_attempt}: {error}\n".format(**letter)
        )
    return 0


def _replay(args: argparse.Namespace) -> int:
    sys.stdout.write(f"{_request(args, 'POST', f'/{args.webhook}/replay')['replayed']} events are delivered again\n")
    return 0


def _test(args: argparse.Namespace) -> int:
    result = _request(args, "POST", f"/{args.webhook}/test")
    sys.stdout.write("delivered\n" if result["delivered"] else f"not delivered: {result['error']}\n")
    return 0 if result["delivered"] else 1
