"""The policy file: which legs are screened, from which thresholds, and whether the verifier hears them.  [S]

A TOML file with one table ``[default]`` and any number of ``[[rule]]``. A rule says which legs it is about and what is
different for them. Every key is looked up by itself: of all rules that fit a leg and give the key, the most specific
one holds, that with the most conditions; among equals the one that stands last. What no rule gives, ``[default]`` does,
and what that does not give, the settings.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError, model_validator

from gateway.errors import ConfigError
from gateway.ingest.events import Direction, LegDescription, Role, StreamStarted

Source = Literal[
    "asterisk", "audiosocket", "bandwidth", "exotel", "freeswitch", "genesys", "jambonz", "livekit", "plain", "plivo",
    "rtp", "signalwire", "sip", "siprec", "telnyx", "twilio", "vonage", "whip",
]  # fmt: skip
"""As in ``leg.started``."""
Band = Literal["narrow", "wide"]
NARROW_HZ = 8_000
"""Codecs of this sampling rate end at 4 kHz (ITU-T G.711); all others reach further."""
MAX_RULES = 100
DEFAULT = "default"
VERSION_DIGITS = 12
Word = Annotated[str, Field(min_length=1)]


class Values(BaseModel):
    """What a policy can set; None: left to a less specific rule."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    alert_p: Annotated[float, Field(ge=0.5, lt=1.0)] | None = None
    """An alert is raised from this rolling probability on."""
    clear_p: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """An alert is cleared below this rolling probability."""
    min_alert_speech_s: Annotated[float, Field(ge=0.0, le=9.0)] | None = None
    """An alert is never raised on less speech; the rolling view holds 9 s."""
    min_verdict_speech_s: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] | None = None
    """A leg with less scored speech ends `indeterminate`."""
    verifier: StrictBool | None = None
    """Whether the verifier hears the leg, where there is one."""
    screen: StrictBool | None = None
    """Whether the leg is scored at all."""


KEYS = tuple(Values.model_fields)


class Rule(Values):
    """Other values for the legs that fit all conditions given."""

    name: Word | None = None
    """For messages; without one, rules are called by their number."""
    source: Source | None = None
    role: Role | None = None
    leg: Word | None = None
    direction: Direction | None = None
    band: Band | None = None
    """``narrow``: the audio is sampled at 8 kHz; ``wide``: at more."""
    tenant: Word | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.conditions():
            raise ValueError(f"expected at least one of {', '.join(CONDITIONS)}; [default] is about all legs")
        if all(getattr(self, key) is None for key in KEYS):
            raise ValueError(f"expected at least one of {', '.join(KEYS)}")
        return self

    def conditions(self) -> dict[str, str]:
        """Return what a leg must be, for this rule to be about it."""
        return {key: value for key in CONDITIONS if (value := getattr(self, key)) is not None}


CONDITIONS = tuple(key for key in Rule.model_fields if key not in (*KEYS, "name"))


def facts_of(stream: StreamStarted, leg: LegDescription) -> dict[str, str]:
    """Return what rules can ask of a leg."""
    facts: dict[str, str] = {
        "source": stream.source,
        "role": leg.role,
        "leg": leg.leg,
        "direction": leg.direction,
        "band": "narrow" if leg.format.rate_hz <= NARROW_HZ else "wide",
    }
    return facts | ({"tenant": stream.tenant} if stream.tenant else {})


@dataclass(frozen=True, slots=True)
class Held:
    """A value, and where it comes from."""

    value: float | bool
    origin: str
    """``default``, or the rule by its name or number."""


class PolicyFile(BaseModel):
    """What stands in a policy file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default: Values = Values()
    rule: Annotated[tuple[Rule, ...], Field(max_length=MAX_RULES)] = ()

    def resolve(self, facts: dict[str, str]) -> dict[str, Held]:
        """Return what holds for a leg, by key; keys that nothing here gives are absent.

        Args:
            facts: of the leg, as `facts_of` returns them; a rule that asks for one that is absent does not fit.
        """
        held: dict[str, Held] = {}
        for origin, values in self._by_specificity(facts):
            given = {key: value for key in KEYS if (value := getattr(values, key)) is not None}
            held |= {key: Held(value, origin) for key, value in given.items()}
        return held

    def _by_specificity(self, facts: dict[str, str]) -> Iterator[tuple[str, Values]]:
        """Return what is about a leg, the least specific first."""
        yield DEFAULT, self.default
        fitting = [
            (len(conditions), number, rule)
            for number, rule in enumerate(self.rule)
            if (conditions := rule.conditions()).items() <= facts.items()
        ]
        for _, number, rule in sorted(fitting, key=lambda one: one[:2]):
            yield rule.name or f"rule {number + 1}", rule

    def check_thresholds(self, alert_p: float, clear_p: float) -> None:
        """Raise ConfigError when there can be a leg whose `clear_p` does not lie below its `alert_p`.

        Args:
            alert_p: the least that holds where nothing here gives one.
            clear_p: the same.
        """
        for facts in self._meetings():
            held = self.resolve(facts)
            raises, clears = (
                held.get("alert_p", Held(alert_p, "settings")),
                held.get("clear_p", Held(clear_p, "settings")),
            )
            if clears.value >= raises.value:
                raise ConfigError(
                    f"clear_p: expected less than alert_p, got {clears.value:g} ({clears.origin}) "
                    f"and {raises.value:g} ({raises.origin})"
                )

    def _meetings(self) -> Iterator[dict[str, str]]:
        """Return a leg for each pair of what sets a threshold, such that both are about it.

        These are enough: another rule that is about such a leg is about each leg where those two hold.
        """
        setting = [rule.conditions() for rule in self.rule if rule.alert_p is not None or rule.clear_p is not None]
        for one in ({}, *setting):
            for other in ({}, *setting):
                if all(one.get(key, value) == value for key, value in other.items()):
                    yield one | other


@dataclass(frozen=True, slots=True)
class Loaded:
    """A policy file that was read."""

    text: str
    policy: PolicyFile

    @property
    def version(self) -> str:
        """The start of the SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:VERSION_DIGITS]


def read(file: Path) -> Loaded:
    """Read a policy file. Raises ConfigError: as `parse`; or the file cannot be read."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not TOML: {error}") from None
    return parse(text, str(file))


def parse(text: str, name: str) -> Loaded:
    """Read the text of a policy file; `name` is for messages.

    Raises:
        ConfigError: a line for each mistake: file, line, key, what was expected.
    """
    try:
        policy = PolicyFile.model_validate(tomllib.loads(text))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
        raise ConfigError("\n".join(_explain(text, name, fault) for fault in faults)) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: not TOML: {error}") from None
    try:
        policy.check_thresholds(1.0, 0.0)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
    return Loaded(text, policy)


def _explain(text: str, name: str, fault: Any) -> str:
    place = fault["loc"]
    line = _line_of(text, place)
    key = "".join(f" {part + 1}" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
    where = f"{name}:{line}" if line else name
    if fault["type"] == "extra_forbidden":
        known = {"default": KEYS, "rule": ("name", *CONDITIONS, *KEYS)}.get(str(place[0]), ("default", "rule"))
        return f"{where}: {key}: there is no such key; expected one of {', '.join(known)}"
    message = fault["msg"].removeprefix("Value error, ")
    given = "" if isinstance(fault["input"], dict | list) else f", got {fault['input']!r:.60}"
    return f"{where}: {key}: {message}{given}"


def _line_of(text: str, place: Sequence[str | int]) -> int | None:
    """Return the line that a key stands on, or else its table; None when neither is found."""
    header, found, rules, inside = None, None, 0, len(place) == 1
    for line, content in enumerate(text.splitlines(), start=1):
        table = re.match(r"\s*\[+\s*(\w+)\s*\]+", content)
        if table:
            rules += table[1] == "rule"
            inside = table[1] == place[0] and (place[0] != "rule" or len(place) < 2 or rules == int(place[1]) + 1)
            header = header or (line if inside else None)
        elif inside and found is None and re.match(rf"\s*\"?{re.escape(str(place[-1]))}\"?\s*=", content):
            found = line
    return found or header
