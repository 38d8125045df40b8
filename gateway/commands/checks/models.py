"""Checks of the models, their signatures and fusion, and of what decides on alerts.  [IO]"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from detection import DEFAULT_MODEL, open_detector, open_fusion
from detection.decision.coverage import step_s
from detection.detector import CardDetector
from detection.errors import DetectionError
from detection.signing import check_model, read_verify_key
from gateway import policy
from gateway.call.thresholds import threshold
from gateway.call.verification import AUTO, OFF, seconds_per_window, verifier_name
from gateway.commands.checks.finding import Finding
from gateway.config import Settings
from gateway.engine import models
from gateway.errors import ConfigError


def model(settings: Settings) -> Iterator[Finding]:
    """Open the light model, and determine the threshold where `alerts_per_hour` sets it."""
    try:
        detector = open_detector(settings.model or DEFAULT_MODEL)
    except DetectionError as error:
        yield Finding("model", "error", str(error))
    else:
        yield Finding("model", "ok", f"{detector.name}: file and card match")
        if settings.alerts_per_hour is not None:
            yield _threshold(settings, detector)


def signatures(settings: Settings) -> Iterator[Finding]:
    """Check each model's signature against `verify_key`."""
    if settings.verify_key is None:
        return
    try:
        key = read_verify_key(settings.verify_key)
    except DetectionError as error:
        yield Finding("verify_key", "error", str(error))
        return
    for setting, name in models(settings):
        try:
            check_model(name, key)
        except DetectionError as error:
            yield Finding(f"signature: {setting}", "error", str(error))
        else:
            yield Finding(f"signature: {setting}", "ok", f"{name} was signed with the key of {settings.verify_key}")


def policy_file(settings: Settings) -> Iterator[Finding]:
    """Read the policy, and compare its thresholds with those of the settings."""
    if settings.policy is None:
        return
    try:
        loaded = policy.read(settings.policy)
        loaded.policy.check_thresholds(settings.alert_p or 1.0, settings.clear_p or 0.5)
    except ConfigError as error:
        for line in str(error).splitlines():
            yield Finding("policy", "error", line)
    else:
        yield Finding("policy", "ok", f"{settings.policy}: {len(loaded.policy.rule)} rules, version {loaded.version}")


def shadow(settings: Settings) -> Iterator[Finding]:
    """Open the candidate's model and policy."""
    if settings.shadow is None:
        return
    parts = []
    try:
        if settings.shadow.model:
            parts.append(open_detector(settings.shadow.model).name)
        if settings.shadow.policy:
            parts.append(f"policy version {policy.read(settings.shadow.policy).version}")
    except (ConfigError, DetectionError) as error:
        yield Finding("shadow", "error", str(error))
    else:
        yield Finding("shadow", "ok", f"tries {' and '.join(parts)}; it never raises an alert")


def verifier(settings: Settings) -> Iterator[Finding]:
    """Open the verifier, and estimate how many legs its CPU share covers."""
    share = settings.verifier_cpu_share
    name = verifier_name(settings.verifier, share)
    if name is None:
        why = "off" if settings.verifier == OFF or not share else "none is installed; set `verifier` to a name or path"
        yield Finding("verifier", "note", f"{why}; the light model scores alone")
        return
    try:
        detector = open_detector(name)
    except DetectionError as error:
        yield Finding("verifier", "warning" if settings.verifier == AUTO else "error", str(error))
        return
    if settings.nats is not None and settings.nats.verifier_pool:
        yield Finding("verifier", "ok", f"{detector.name}: `callscreen verifier` processes score with it (`nats`)")
        yield from _fusion(settings, detector)
        return
    cost_s = seconds_per_window(detector)
    legs = share * step_s(detector.window_s, detector.hop_s) / cost_s
    yield Finding(
        "verifier",
        "ok" if legs >= 1 else "warning",
        f"{detector.name}: {1000 * cost_s:.0f} ms of CPU per window; `verifier_cpu_share` = {share:g} covers "
        f"{legs:.0f} legs of continuous speech on this machine; beyond that, uncertain legs come first",
    )
    yield from _fusion(settings, detector)


def _threshold(settings: Settings, detector: CardDetector) -> Finding:
    name, fusion = verifier_name(settings.verifier, settings.verifier_cpu_share), None
    with suppress(DetectionError):  # `verifier` reports the error
        fusion = open_fusion(detector, open_detector(name))[0] if name else None
    try:
        raise_p = threshold(settings, detector, fusion)
    except ConfigError as error:
        return Finding("alerts_per_hour", "error", str(error).removeprefix("alerts_per_hour: "))
    return Finding("alerts_per_hour", "ok", f"alerts are raised above probability {raise_p:g}")


def _fusion(settings: Settings, verifier: CardDetector) -> Iterator[Finding]:
    """Check how the models are fused; `model` reports errors of the light one."""
    try:
        light = open_detector(settings.model or DEFAULT_MODEL)
    except DetectionError:
        return
    try:
        _, plain = open_fusion(light, verifier)
    except DetectionError as error:
        yield Finding("fusion", "error", str(error))
    else:
        yield Finding("fusion", "note" if plain else "ok", plain or f"fitted for {light.name} and {verifier.name}")
