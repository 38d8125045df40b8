"""Scenario files: found by name or path, read and checked; errors name file and line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec

from sim.line import CODECS
from sim.network import PERFECT
from sim.scenario import FIXED_LEGS, STEREO, VENDOR_NAMES, CallPlan, LegPlan, Scenario, ScenarioError
from sim.sounds import NOISES

SHIPPED = Path(__file__).parent / "scenarios"
ORDERED = ("signalwire", "plivo", "bandwidth", "exotel", "freeswitch", "jambonz", "twilio")
"""Attach points that keep the order of audio."""
TIMELESS = ("plain", "livekit", "exotel", "freeswitch", "jambonz")
"""Attach points whose frames carry neither time nor sequence number."""
_PATH = re.compile(r"`\$\.?([^`]*)`")
_UNKNOWN = re.compile(r"field `([^`]+)`")


def shipped() -> list[str]:
    """Return the names of the shipped scenarios."""
    return sorted(file.stem for file in SHIPPED.glob("*.toml"))


def load(name_or_path: str) -> Scenario:
    """Read a scenario: a shipped one by name (``demo``), any other by path.

    Raises:
        ScenarioError: missing, not TOML, or with an unknown or invalid key.
    """
    path = SHIPPED / f"{name_or_path}.toml"
    if not path.is_file():
        path = Path(name_or_path)
    try:
        text = path.read_text(encoding="utf-8")
        scenario = msgspec.toml.decode(text, type=Scenario)
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror} (shipped scenarios: {', '.join(shipped())})") from None
    except msgspec.ValidationError as error:
        raise ScenarioError(f"{path}{_at(text, str(error))}: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: expected TOML: {error}") from None
    try:
        scenario = check(scenario, path.parent)
    except ScenarioError as error:
        raise ScenarioError(f"{path}{_at(text, f'`$.{error}`')}: {error}") from None
    return scenario if scenario.name else msgspec.structs.replace(scenario, name=path.stem)


def line_of(text: str, where: str, key: str) -> int | None:
    """Return the line of a key in a scenario's text, else the line of its table; None if neither is found.

    Args:
        where: path of the table, as msgspec writes it: ``call[1].legs[...]``.
        key: last part of the path.
    """
    match = re.search(r"call\[(\d+)\]", where)
    wanted = int(match[1]) if match else None
    number, found, header = -1, None, None
    for line, content in enumerate(text.splitlines(), start=1):
        if re.match(r"\s*\[\[\s*call\s*\]\]", content):
            number += 1
            if number == wanted:
                header = line
        inside = wanted is None or number == wanted
        if inside and found is None and re.match(rf"\s*(\[+[^\]]*\b)?{re.escape(key)}\b\s*(=|\]|\.)", content):
            found = line
    return found or header


def _at(text: str, error: str) -> str:
    path = match[1] if (match := _PATH.search(error)) else ""
    where, _, last = path.partition(":")[0].rpartition(".")
    unknown = _UNKNOWN.search(error)
    key = unknown[1] if unknown else last.partition("[")[0]
    line = line_of(text, path if unknown else where or path, key)
    return "" if line is None else f":{line}"


def check(scenario: Scenario, folder: Path) -> Scenario:
    """Return the scenario with paths resolved relative to `folder`.

    Raises:
        ScenarioError: names the key and the expected value.
    """
    if not scenario.call:
        raise ScenarioError("call: expected at least one [[call]]")
    scenario.at_speed(None)
    names: set[str] = set()
    for number, plan in enumerate(scenario.call):
        where = f"call[{number}]"
        if taken := names & set(plan.names):
            raise ScenarioError(f"{where}.name: expected unique names, got {min(taken)!r} twice")
        names |= set(plan.names)
        _check_legs(where, plan)
        _check_network(where, plan)
        _check_times(where, plan)
        for leg, leg_plan in plan.legs.items():
            _check_leg(f"{where}.legs.{leg}", leg_plan, folder)
    return _with_resolved_paths(scenario, folder)


def _check_legs(where: str, plan: CallPlan) -> None:
    if not plan.legs:
        raise ScenarioError(f"{where}.legs: expected at least one leg")
    fixed = FIXED_LEGS.get(plan.transport)
    if fixed and not set(plan.legs) <= set(fixed):
        vendor = VENDOR_NAMES.get(plan.transport, plan.transport.capitalize())
        raise ScenarioError(f"{where}.legs: {vendor}'s legs are {' and '.join(fixed)}, got {', '.join(plan.legs)}")
    if fixed and plan.transport in STEREO and len(plan.legs) != len(fixed):
        raise ScenarioError(f"{where}.legs: expected both legs of {plan.transport}: {' and '.join(fixed)}")


def _check_network(where: str, plan: CallPlan) -> None:
    network = plan.network
    if plan.transport in TIMELESS and msgspec.structs.replace(network, drift_ppm=0.0, jitter_ms=0.0) != PERFECT:
        raise ScenarioError(f"{where}.network: expected no loss: {plan.transport} frames carry no time")
    if plan.transport in ORDERED and (network.reorder or network.duplicate):
        raise ScenarioError(f"{where}.network: expected loss and jitter_ms only: a websocket keeps the order")


def _check_times(where: str, plan: CallPlan) -> None:
    swaps = [] if plan.swap_s is None else plan.swap_s if isinstance(plan.swap_s, list) else [plan.swap_s]
    if any(swap_s >= plan.duration_s for swap_s in swaps):
        raise ScenarioError(f"{where}.swap_s: expected less than duration_s ({plan.duration_s:g})")
    if swaps != sorted(swaps):
        raise ScenarioError(f"{where}.swap_s: expected rising times, got {swaps}")
    changes = max((len(leg.labels) - 1 for leg in plan.legs.values()), default=0)
    if plan.swap_s is not None and len(swaps) < changes:
        raise ScenarioError(f"{where}.swap_s: expected {changes} times, one for each change, got {len(swaps)}")
    at_s = 0.0
    for cut in plan.cut:
        if not at_s < cut.at_s < plan.duration_s:
            raise ScenarioError(f"{where}.cut.at_s: expected more than {at_s:g} and less than {plan.duration_s:g}")
        if cut.back_after_s is None and cut is not plan.cut[-1]:
            raise ScenarioError(f"{where}.cut.back_after_s: expected a value, because another cut follows")
        at_s = cut.at_s + (cut.back_after_s or 0.0)
    for low_s, high_s in (plan.talk.turn_s, plan.talk.pause_s, plan.talk.overlap_s):
        if low_s > high_s:
            raise ScenarioError(f"{where}.talk: expected [least, most], got [{low_s:g}, {high_s:g}]")


def _check_leg(where: str, leg: LegPlan, folder: Path) -> None:
    if leg.clips and leg.manifest:
        raise ScenarioError(f"{where}.clips: expected either clips or a manifest, got both")
    if leg.clips and len(set(leg.labels)) != 1:
        raise ScenarioError(f"{where}.clips: expected a leg that is only human or only synthetic; else use a manifest")
    for clip in leg.clips:
        if not (folder / clip).exists():
            raise ScenarioError(f"{where}.clips: expected an existing recording or folder, got {clip!r}")
    if leg.manifest and not (folder / leg.manifest).is_file():
        raise ScenarioError(f"{where}.manifest: expected an existing CSV file, got {leg.manifest!r}")
    if unknown := [codec for codec in leg.codec if codec not in CODECS]:
        raise ScenarioError(f"{where}.codec: expected some of {', '.join(CODECS)}; got {unknown[0]!r}")
    if leg.noise and leg.noise not in NOISES and not (folder / leg.noise).is_file():
        raise ScenarioError(f"{where}.noise: expected {', '.join(NOISES)} or a recording; got {leg.noise!r}")


def _with_resolved_paths(scenario: Scenario, folder: Path) -> Scenario:
    def resolved(leg: LegPlan) -> LegPlan:
        return msgspec.structs.replace(
            leg,
            clips=[str(folder / clip) for clip in leg.clips],
            manifest=str(folder / leg.manifest) if leg.manifest else "",
            noise=str(folder / leg.noise) if leg.noise and leg.noise not in NOISES else leg.noise,
        )

    return _with_legs(scenario, resolved)


def _with_legs(scenario: Scenario, change: Callable[[LegPlan], LegPlan]) -> Scenario:
    calls = [
        msgspec.structs.replace(plan, legs={name: change(leg) for name, leg in plan.legs.items()})
        for plan in scenario.call
    ]
    return msgspec.structs.replace(scenario, call=calls)
