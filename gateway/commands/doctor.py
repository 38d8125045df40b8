"""`callscreen doctor`: checks a configuration before it is served.  [IO]

The checks open what a gateway would open, and close it again. Nothing is changed, and no other machine is contacted
except the OTLP endpoint, which is sent an empty export.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.commands.checks import access, attach, delivery, models, storage
from gateway.commands.checks.finding import Finding
from gateway.config import Settings
from gateway.config_loading import load
from gateway.errors import ConfigError

STYLES = {"ok": "green", "note": "dim", "warning": "yellow", "error": "bold red"}
CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    models.model,
    models.signatures,
    models.policy_file,
    models.shadow,
    models.verifier,
    storage.journal,
    storage.disk,
    storage.clock,
    storage.evidence,
    delivery.otlp,
    attach.ports,
    access.tls,
    access.access,
    delivery.webhooks,
    delivery.nats,
    attach.doors,
    attach.audiosocket,
    attach.webrtc,
    attach.sound_devices,
)


def run(config: Path | None, as_json: bool) -> int:
    """Check and show; returns the exit code."""
    findings = examine(config)
    console = Console(highlight=False)
    if as_json:
        console.out(json.dumps([asdict(finding) for finding in findings], indent=2), highlight=False)
    else:
        table = Table("check", "", "what was found", box=None, header_style="bold")
        for finding in findings:
            table.add_row(finding.check, Text(finding.state, STYLES[finding.state]), finding.detail)
        console.print(table)
    return int(any(finding.state == "error" for finding in findings))


def examine(config: Path | None) -> list[Finding]:
    """Return what every check found, in a fixed order; where the settings cannot be read, only that."""
    try:
        settings = load(config)
    except ConfigError as error:
        return [Finding("settings", "error", line) for line in str(error).splitlines()]
    read = Finding("settings", "ok", f"read from {config or 'the environment'}")
    return [read, *(finding for check in CHECKS for finding in check(settings))]
