"""`callscreen verifier`: a worker that verifies windows for gateways.  [IO]"""

from __future__ import annotations

import argparse
from pathlib import Path

from gateway.config_loading import load
from gateway.errors import ConfigError

DESCRIPTION = """\
Verify windows for gateways that have `verifier_pool = true` in their `nats` settings. Takes jobs from a NATS server
when it is idle, scores them with the verifier model, and answers. Start as many as are needed, on any machine that
reaches the server; each takes one core for each thread. It needs no journal, takes no calls and stores nothing.

A server that cannot be reached, at the start or later, is tried again every second. SIGTERM: what was taken is
answered, then the process ends."""
EPILOG = """\
  callscreen verifier --nats nats://nats.internal:4222
  callscreen verifier --config callscreen.toml --threads 4 --port 9090

Credentials for NATS are in the settings: the file or environment of a gateway serves verifiers as well. Of the
settings these count: nats, verifier, verify_key, log_level, log_format; with --port also host, token, tokens, tls_cert
and tls_key.

A gateway's windows are only given to verifiers that have its model, with the same calibration. The gateway's metric
`callscreen_pool_verifiers` counts those; the logs of both name the models if they differ."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `run` reads."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="settings, as for `serve`; the environment counts too"
    )
    parser.add_argument("--nats", metavar="URL", help="nats://HOST:PORT or tls://…; several of a cluster by commas")
    parser.add_argument("--model", metavar="NAME_OR_PATH", help="the gateways' verifier (the one that ships)")
    parser.add_argument(
        "--threads", type=_threads, default=1, metavar="N", help="jobs at the same time, each with its own model (1)"
    )
    parser.add_argument("--host", help="address for --port (127.0.0.1)")
    parser.add_argument(
        "--port", type=int, help="port for /healthz, /readyz and /metrics; 0 takes a free one; not given: none"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Verify until SIGTERM; returns the exit code. Raises ConfigError."""
    nats = None if args.nats is None else {"url": args.nats}
    settings = load(args.config, nats=nats, verifier=args.model, host=args.host, port=args.port)
    try:
        from gateway.pool import process  # slow to import; --help does not need it
    except ImportError as error:
        raise ConfigError(f"nats: {error}; install them with `pip install 'callscreen[nats]'`") from None
    process.run(settings, args.threads, serves_health=args.port is not None)
    return 0


def _threads(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"expected 1 to 64, got {text!r}")
    return int(text)
