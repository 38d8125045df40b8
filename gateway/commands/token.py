"""`callscreen token new`: creates a token with scopes, and prints the settings for it.  [IO]"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from typing import get_args

from pydantic import ValidationError

from gateway.auth import tokens
from gateway.auth.access import Scope
from gateway.errors import ConfigError

EPILOG = """\
  callscreen token new --name "fraud desk" --scope subscribe
  callscreen token new --name "pbx of blue" --scope ingest --tenant blue --expires 2027-06-30

The token is printed once and stored nowhere; the lines for the settings file hold its hash.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `run`."""
    parser.description = "Bearer tokens with scopes, for the setting `tokens`."
    parser.epilog = "example: callscreen token new --name dashboard --scope subscribe"
    new = parser.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "new",
        help="create a token, and print it with the lines for the settings file",
        description="Create a token of 256 random bits.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    new.add_argument("--name", required=True, help="name in refusals and in `callscreen doctor`")
    new.add_argument(
        "--scope",
        required=True,
        action="append",
        choices=get_args(Scope),
        dest="scopes",
        help="what it allows; may be repeated",
    )
    new.add_argument("--tenant", help="only calls of this tenant can be sent and seen")
    new.add_argument("--expires", metavar="DATE", help="day or time (ISO 8601; UTC without a zone)")
    new.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print a new token and its settings; return the exit code. Raises ConfigError."""
    token, sha256 = tokens.make()
    facts = {"name": args.name, "sha256": sha256, "scopes": list(dict.fromkeys(args.scopes))}
    if args.tenant is not None:
        facts["tenant"] = args.tenant
    expires = None if args.expires is None else _time(args.expires)
    try:
        tokens.ScopedToken.model_validate(facts | {"expires": expires})
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        raise ConfigError(f"{'.'.join(map(str, fault['loc'])) or 'token'}: {fault['msg']}") from None
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in facts.items()]
    if expires is not None:
        lines.append(f"expires = {expires.isoformat()}")
    settings = "\n".join(["[[tokens]]", *lines])
    sys.stdout.write(
        f"{token}\n\n# for the settings file; the line above is the token, and is shown only here\n{settings}\n"
    )
    return 0


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--expires: expected a day or time such as 2027-06-30, got {text!r:.40}") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
