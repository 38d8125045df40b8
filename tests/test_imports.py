"""Import rules: who may import whom. Fails on a forbidden import, and on a path that is gone."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PACKAGES = ("gateway", "detection", "sim")

# A module may import from its own folder, and from these. Longest match wins; "" is nothing further.
ARROWS: dict[str, tuple[str, ...]] = {
    "gateway.app": ("gateway", "detection"),
    "gateway.http.web": ("gateway",),
    "gateway.webhooks": (
        "gateway.alerts",
        "gateway.clock",
        "gateway.errors",
        "gateway.logs",
        "gateway.paths",
    ),
    "gateway.commands.webhooks": ("gateway.paths",),
    "gateway.commands.evidence": ("gateway.clock", "gateway.config_loading", "gateway.errors", "gateway.evidence"),
    "gateway.commands.feedback": ("gateway.alerts.labels", "gateway.config_loading", "gateway.errors"),
    "gateway.http.evidence": (
        "gateway.auth.access",
        "gateway.errors",
        "gateway.evidence",
        "gateway.logs",
        "gateway.paths",
    ),
    "gateway.http.feedback": (
        "gateway.auth.access",
        "gateway.alerts",
        "gateway.contract.answers",
        "gateway.errors",
        "gateway.paths",
    ),
    "gateway.http.calls": (
        "gateway.auth.access",
        "gateway.alerts",
        "gateway.call.registry",
        "gateway.clock",
        "gateway.errors",
        "gateway.paths",
    ),
    "gateway.__main__": ("gateway",),
    "gateway.evidence": (
        "gateway.clock",
        "gateway.errors",
        "gateway.ingest.events",
        "gateway.logs",
        "detection",
    ),
    "gateway.evidence.settings": (),
    "gateway.engine": (
        "gateway.call",
        "gateway.evidence",
        "gateway.config",
        "gateway.errors",
        "gateway.logs",
        "gateway.policy",
        "gateway.pool.scorer",
        "detection",
    ),
    "gateway.http.host": (
        "gateway.config",
        "gateway.http.connection",
        "gateway.errors",
        "gateway.logs",
        "gateway.refusals",
    ),
    "gateway.paths": (),
    "gateway.workers": ("gateway",),
    "gateway.http.connection": ("gateway.http.frames", "gateway.ingest.websocket", "gateway.refusals", "gateway.logs"),
    "gateway.commands.doctor": (
        "gateway.commands.checks",
        "gateway.config",
        "gateway.config_loading",
        "gateway.errors",
    ),
    "gateway.commands.checks": ("gateway", "detection"),
    "gateway.commands.checks.finding": (),
    "gateway.telemetry": ("gateway.alerts", "gateway.clock", "gateway.errors", "gateway.logs"),
    "gateway.pages": (),
    "gateway.contract": ("gateway.alerts.event", "gateway.alerts.cloud_event", "gateway.paths"),
    "gateway.commands.settings_help": ("gateway.config",),
    "gateway.commands.asterisk": ("gateway.client",),
    "gateway.commands.attach": ("gateway.client", "gateway.commands.watch"),
    "gateway.commands.watch": (
        "gateway.client",
        "gateway.alerts.event",
        "gateway.alerts.cloud_event",
        "gateway.errors",
    ),
    "gateway.ingest": (
        "gateway.config",
        "gateway.errors",
        "gateway.logs",
        "gateway.clock",
        "gateway.pace",
        "gateway.refusals",
        "gateway.auth.access",
    ),
    "gateway.ingest.audiosocket.port": (
        "gateway.ingest",
        "gateway.sources",
        "gateway.config",
        "gateway.errors",
        "gateway.logs",
        "gateway.clock",
        "gateway.refusals",
    ),
    "gateway.ingest.dialects": (
        "gateway.ingest.events",
        "gateway.ingest.codecs",
        "gateway.ingest.names",
        "gateway.errors",
    ),
    "gateway.call": (
        "gateway.ingest.events",
        "gateway.ingest.codecs",
        "gateway.alerts.event",
        "gateway.alerts.cloud_event",
        "gateway.alerts.bus",
        "gateway.config",
        "gateway.errors",
        "gateway.logs",
        "gateway.clock",
        "gateway.pace",
        "gateway.policy",
        "gateway.evidence",
        "detection",
    ),
    "gateway.policy": ("gateway.errors", "gateway.ingest.events", "gateway.toml"),
    "gateway.policy_watch": ("gateway.call.policies", "gateway.errors", "gateway.logs", "gateway.policy"),
    "gateway.commands.policy": ("gateway.ingest.events", "gateway.policy"),
    "gateway.alerts": (
        "gateway.auth.access",
        "gateway.config",
        "gateway.errors",
        "gateway.logs",
        "gateway.clock",
        "gateway.refusals",
    ),
    "gateway.shared": (
        "gateway.alerts",
        "gateway.clock",
        "gateway.errors",
        "gateway.logs",
    ),
    "gateway.client": ("gateway.alerts.event", "gateway.alerts.cloud_event"),
    "gateway.config_loading": ("gateway.config", "gateway.errors", "gateway.toml"),
    "gateway.pool": (
        "gateway.call.scorer",
        "gateway.clock",
        "gateway.errors",
        "gateway.logs",
        "gateway.refusals",
        "gateway.shared.connection",
        "gateway.shared.settings",
        "detection",
    ),
    "gateway.pool.process": ("gateway", "detection"),
    "gateway.commands.verifier": ("gateway.config_loading", "gateway.errors", "gateway.pool.process"),
    "gateway.signals": (),
    "gateway.config": (
        "gateway.call.shadow_settings",
        "gateway.call.expected",
        "gateway.errors",
        "gateway.evidence.settings",
        "gateway.webhooks.settings",
        "gateway.ingest.doors",
        "gateway.ingest.rtp.settings",
        "gateway.ingest.audiosocket.door",
        "gateway.ingest.sip.settings",
        "gateway.shared.settings",
        "gateway.auth.jwt_settings",
        "gateway.sources",
        "gateway.auth.tokens",
    ),
    "gateway.auth.jwt_settings": (),
    "gateway.sources": ("gateway.errors", "gateway.ingest.rtp.settings"),
    "gateway.auth.jwt_tokens": (
        "gateway.auth.access",
        "gateway.clock",
        "gateway.errors",
        "gateway.ingest.names",
        "gateway.auth.jwt_settings",
        "gateway.logs",
    ),
    "gateway.auth.access": ("gateway.paths", "gateway.errors"),
    "gateway.commands.token": ("gateway.auth.access", "gateway.errors", "gateway.auth.tokens"),
    "gateway.auth.tokens": ("gateway.auth.access", "gateway.errors", "gateway.ingest.names"),
    "gateway.ingest.sip": (
        "gateway.ingest",
        "gateway.config",
        "gateway.errors",
        "gateway.logs",
        "gateway.clock",
        "gateway.pace",
        "gateway.refusals",
        "gateway.sources",
    ),
    "gateway.errors": (),
    "gateway.pace": ("gateway.errors",),
    "gateway.refusals": ("gateway.clock",),
    "gateway.logs": (),
    "gateway.clock": (),
    "detection": (),
    "sim": ("gateway.client", "gateway.alerts.event", "gateway.alerts.cloud_event"),
    # What a voice goes through is measured with the same codecs that the simulated lines have.
    "sim.line": ("sim", "gateway.client", "detection.signal.channels"),
    # A whole gateway in this process, on a virtual clock.
    "sim.inprocess": ("sim", "gateway"),
    "sim.__main__": ("sim", "gateway.logs"),
    "sim.matrix.command": ("sim", "gateway.logs"),
    "sim.replay": ("sim", "gateway.client", "gateway.logs"),
}

# [S] files: bytes or numbers in, facts out. No waiting, no clock, no network, no logging.
SANS_IO = (
    "gateway/auth/access.py",
    "gateway/errors.py",
    "gateway/pace.py",
    "gateway/sources.py",
    "gateway/alerts/event.py",
    "gateway/alerts/cloud_event.py",
    "gateway/alerts/picture.py",
    "gateway/evidence/recent.py",
    "gateway/evidence/settings.py",
    "gateway/contract/answers.py",
    "gateway/contract/call_answers.py",
    "gateway/commands/checks/finding.py",
    "gateway/contract/asyncapi.py",
    "gateway/contract/documents.py",
    "gateway/contract/openapi.py",
    "gateway/contract/schemas.py",
    "gateway/paths.py",
    "gateway/policy.py",
    "gateway/shared/names.py",
    "gateway/shared/settings.py",
    "gateway/pool/flow.py",
    "gateway/pool/messages.py",
    "gateway/pool/roster.py",
    "gateway/commands/settings_help.py",
    "gateway/auth/jwt_settings.py",
    "gateway/auth/tokens.py",
    "gateway/webhooks/addresses.py",
    "gateway/webhooks/settings.py",
    "gateway/webhooks/signature.py",
    "gateway/workers/joined.py",
    "gateway/workers/routing.py",
    "gateway/call/recovery.py",
    "gateway/call/expected.py",
    "gateway/call/leg.py",
    "gateway/call/overload.py",
    "gateway/call/plausible.py",
    "gateway/call/policies.py",
    "gateway/call/resample.py",
    "gateway/call/shadow_settings.py",
    "gateway/call/share.py",
    "gateway/call/verdicts.py",
    "gateway/ingest/audiosocket/door.py",
    "gateway/ingest/codecs.py",
    "gateway/ingest/dialects/audiosocket.py",
    "gateway/ingest/dialects/asterisk_websocket.py",
    "gateway/ingest/dialects/base.py",
    "gateway/ingest/dialects/tracks.py",
    "gateway/ingest/dialects/signalwire.py",
    "gateway/ingest/dialects/telnyx.py",
    "gateway/ingest/dialects/plivo.py",
    "gateway/ingest/dialects/exotel.py",
    "gateway/ingest/dialects/bandwidth.py",
    "gateway/ingest/dialects/announced.py",
    "gateway/ingest/dialects/genesys.py",
    "gateway/ingest/dialects/livekit.py",
    "gateway/ingest/dialects/channels.py",
    "gateway/ingest/dialects/early.py",
    "gateway/ingest/dialects/plain.py",
    "gateway/ingest/dialects/twilio.py",
    "gateway/http/frames.py",
    "gateway/ingest/events.py",
    "gateway/ingest/http_signature.py",
    "gateway/ingest/jwt_signature.py",
    "gateway/ingest/names.py",
    "gateway/ingest/doors.py",
    "gateway/ingest/tolerance.py",
    "gateway/ingest/kinds.py",
    "gateway/ingest/rtp/packet.py",
    "gateway/ingest/rtp/settings.py",
    "gateway/ingest/rtp/voice.py",
    "gateway/ingest/sip/dialog.py",
    "gateway/ingest/sip/digest.py",
    "gateway/ingest/sip/identity.py",
    "gateway/ingest/sip/message.py",
    "gateway/ingest/sip/multipart.py",
    "gateway/ingest/sip/recording.py",
    "gateway/ingest/sip/sdp.py",
    "gateway/ingest/sip/settings.py",
    "gateway/ingest/sip/uas.py",
    "detection/signal/activity.py",
    "detection/decision/coverage.py",
    "detection/decision/rule.py",
    "detection/signal/domain.py",
    "detection/decision/evidence.py",
    "detection/signal/music.py",
    "detection/signal/spectra.py",
    "detection/signal/framing.py",
    "detection/signal/traits.py",
    "detection/types.py",
    "detection/signal/windows.py",
    "sim/calls.py",
    "sim/line.py",
    "sim/load/result.py",
    "sim/matrix/cells.py",
    "sim/matrix/figures.py",
    "sim/matrix/legs.py",
    "sim/matrix/page.py",
    "sim/matrix/svg.py",
    "sim/network.py",
    "sim/scenario.py",
    "sim/sounds.py",
    "sim/talk.py",
)
NOT_SANS_IO = {
    "asyncio",
    "socket",
    "threading",
    "time",
    "logging",
    "structlog",
    "gateway.clock",
    "gateway.logs",
}

# What a gateway must not load: seconds of start-up and hundreds of megabytes.
HEAVY = ("torch", "librosa", "matplotlib", "sklearn", "onnx")

MODULES = sorted(path.relative_to(REPOSITORY) for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> set[str]:
    """Every module that the file imports, at any depth; `from a import b` counts as a.b when that is a module."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((REPOSITORY / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where a name comes from"
            module = node.module or ""
            for alias in node.names:
                whole = f"{module}.{alias.name}"
                is_module = (REPOSITORY / whole.replace(".", "/")).with_suffix(".py").exists()
                names.add(whole if is_module else module)
    return names


def within(name: str, folders: tuple[str, ...]) -> bool:
    return any(name == folder or name.startswith(f"{folder}.") for folder in folders)


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_follow_the_arrows(path: Path) -> None:
    module = name_of(path)
    rule = max((key for key in ARROWS if within(module, (key,))), key=len, default=None)
    allowed = (rule, *ARROWS[rule]) if rule else ()
    ours = {name for name in imports_of(path) if within(name, PACKAGES)}
    assert {name for name in ours if not within(name, allowed)} == set()


@pytest.mark.parametrize("path", SANS_IO)
def test_sans_io_files_stay_so(path: str) -> None:
    assert {name for name in imports_of(Path(path)) if within(name, tuple(NOT_SANS_IO))} == set()


def test_every_arrow_is_about_something_that_exists() -> None:
    names = {name_of(path) for path in MODULES}
    for name in {*ARROWS, *(target for targets in ARROWS.values() for target in targets)}:
        assert any(within(module, (name,)) for module in names), name


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_module_is_longer_than_can_be_read(path: Path) -> None:
    text = (REPOSITORY / path).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            code = (node.end_lineno or 0) - node.lineno - len((ast.get_docstring(node) or "").splitlines())
            assert code < (250 if isinstance(node, ast.ClassDef) else 50), node.name


def test_serving_loads_nothing_heavy() -> None:
    code = f"import sys, gateway.app, detection; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=REPOSITORY).strip() == "[]"
