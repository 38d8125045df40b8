"""The models, opened as the settings say, and at work.  [IO]"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from detection import DEFAULT_MODEL, Fusion, Policy, open_detector, open_fusion
from detection.decision.evidence import light_alone
from detection.detector import CardDetector
from detection.errors import DetectionError
from detection.signing import check_model, read_verify_key
from gateway import logs
from gateway.call.load import Load
from gateway.call.policies import ModelRules, Policies
from gateway.call.scorer import Fifo, Scorer, Scoring
from gateway.call.session import Engine, Publisher
from gateway.call.shadow import Shadow
from gateway.call.thresholds import threshold
from gateway.call.verification import AUTO, METERS, QUEUE_WINDOWS, ByRank, Verifier, own_scorer, verifier_name
from gateway.config import Settings
from gateway.errors import ConfigError
from gateway.evidence.recorder import Recorder
from gateway.policy import Loaded

_log = logs.get(__name__)


@contextlib.asynccontextmanager
async def open_engine(
    settings: Settings, bus: Publisher, loaded: Loaded | None, candidate: Loaded | None
) -> AsyncIterator[Engine]:
    """Open the models, and score while the body runs. Raises ConfigError.

    Args:
        loaded: the policy file, where there is one.
        candidate: that of `settings.shadow`, likewise.
    """
    await asyncio.to_thread(_check_signatures, settings)
    detector = await asyncio.to_thread(_open_detector, settings)
    second = await asyncio.to_thread(_open_verifier, settings)
    fusion = _open_fusion(detector, second) if second else None
    policies = _policies(settings, detector, fusion, settings.policy, loaded)
    policies.publish()
    backlog = Fifo(settings.scorer_queue_windows)
    scorer = Scorer(detector, backlog, settings.scorer_batch_windows)
    load = Load(backlog.waiting_s)
    verifier = Verifier(second, fusion, _verifying(settings, second), load) if second and fusion else None
    shadow = await asyncio.to_thread(_open_shadow, settings, detector, fusion, load, candidate)
    evidence = await asyncio.to_thread(_open_evidence, settings)
    engine = Engine(detector, scorer, policies, bus, load, settings.expected_machine, verifier, shadow, evidence)
    running = [part for part in (load, scorer, verifier, shadow, evidence) if part]
    for part in running:
        part.start()
    try:
        yield engine
    finally:
        for part in running:
            await part.close()


def _verifying(settings: Settings, second: CardDetector) -> Scoring:
    """Return who scores with the verifier: a pool where that is set, else this process. Raises ConfigError."""
    if settings.nats is None or not settings.nats.verifier_pool:
        return own_scorer(second, settings.verifier_cpu_share / settings.workers)
    try:
        from gateway.pool.scorer import PoolScorer  # its library is loaded where NATS is used only
    except ImportError as error:
        raise ConfigError(f"nats: {error}; install them with `pip install 'callscreen[nats]'`") from None
    return PoolScorer(second, ByRank(QUEUE_WINDOWS), METERS, settings.nats)


def _open_shadow(
    settings: Settings, light: CardDetector, fusion: Fusion | None, load: Load, loaded: Loaded | None
) -> Shadow | None:
    """Open the candidate, if one is configured. Raises ConfigError."""
    wanted = settings.shadow
    if wanted is None:
        return None
    candidate = None
    if wanted.model:
        try:
            candidate = open_detector(wanted.model)
        except DetectionError as error:
            raise ConfigError(f"shadow.model: {error}") from None
        if (candidate.window_s, candidate.hop_s) != (light.window_s, light.hop_s):
            raise ConfigError(f"shadow.model: expected windows of {light.window_s:g} s every {light.hop_s:g} s")
    policies = _policies(settings, candidate or light, None if candidate else fusion, wanted.policy, loaded)
    share = wanted.cpu_share / settings.workers
    return Shadow(policies, load, fusion.llr if fusion else light_alone, candidate, share)


def _open_evidence(settings: Settings) -> Recorder | None:
    """Open what stores the audio around alerts, where that is wanted. Raises ConfigError."""
    wanted = settings.evidence
    if wanted is None:
        return None
    try:
        from gateway.evidence.age import encryption
    except ImportError as error:
        raise ConfigError(f"evidence: {error}; install it with `pip install 'callscreen[evidence]'`") from None
    return Recorder(wanted, encryption(wanted.public_keys))


def _policies(
    settings: Settings, light: CardDetector, fusion: Fusion | None, file: Path | None, loaded: Loaded | None
) -> Policies:
    fused = ModelRules(_rules(settings, threshold(settings, light, fusion)), fusion.calibration_id) if fusion else None
    # For legs without the verifier: the light model alone may not reach the rate that the fusion reaches.
    raise_p = light.raise_p if fused and settings.alerts_per_hour else threshold(settings, light, None)
    alone = ModelRules(_rules(settings, raise_p), light.calibration_id)
    try:
        return Policies(alone, fused, loaded)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None


def _rules(settings: Settings, raise_p: float) -> Policy:
    try:
        rules = Policy(raise_p=raise_p)
        return dataclasses.replace(rules, clear_p=settings.clear_p or rules.clear_p)
    except ValueError as error:
        raise ConfigError(f"alert_p, clear_p: {error}") from None


def models(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield the models that will be opened, each with the setting that names it."""
    yield "model", settings.model or DEFAULT_MODEL
    if verifier := verifier_name(settings.verifier, settings.verifier_cpu_share):
        yield "verifier", verifier
    if settings.shadow and settings.shadow.model:
        yield "shadow.model", settings.shadow.model


def _check_signatures(settings: Settings) -> None:
    """Check the signature of each model if `verify_key` is set. Raises ConfigError."""
    if settings.verify_key is None:
        return
    setting = "verify_key"
    try:
        key = read_verify_key(settings.verify_key)
        for setting, name in models(settings):  # noqa: B007  the error names it
            check_model(name, key)
    except DetectionError as error:
        raise ConfigError(f"{setting}: {error}") from None


def _open_detector(settings: Settings) -> CardDetector:
    try:
        return open_detector(settings.model or DEFAULT_MODEL)
    except DetectionError as error:
        raise ConfigError(f"model: {str(error).removeprefix('model: ')}") from None


def _open_verifier(settings: Settings) -> CardDetector | None:
    """Open the verifier. If the default one cannot be used, log a warning and return None. Raises ConfigError."""
    name = verifier_name(settings.verifier, settings.verifier_cpu_share)
    if name is None:
        return None
    try:
        if settings.nats is not None and settings.nats.verifier_pool:
            return open_detector(name, backend="elsewhere")
        return open_detector(name)
    except DetectionError as error:
        if settings.verifier != AUTO:
            raise ConfigError(f"verifier: {str(error).removeprefix('model: ')}") from None
        _log.warning("no verifier", reason=str(error))
        return None


def _open_fusion(light: CardDetector, verifier: CardDetector) -> Fusion:
    """Open the score fusion of both models; log a warning if none was fitted for them. Raises ConfigError."""
    try:
        fusion, plain = open_fusion(light, verifier)
    except DetectionError as error:
        raise ConfigError(f"verifier: {str(error).removeprefix('model: ')}") from None
    if plain:
        _log.warning("no fitted fusion", reason=plain)
    return fusion
