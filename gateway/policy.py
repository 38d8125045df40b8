"""The policy file: which legs are screened, from which thresholds, and whether the verifier scores them.  [S]

A TOML file with one table ``[default]`` and any number of ``[[rule]]``. A rule has conditions on a leg, and values for
the legs that meet all of them. Each value is looked up separately: of the matching rules that set it, the one with the
most conditions applies, the last one among equals. Otherwise ``[default]`` applies, then the settings.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError, model_validator

from gateway.errors import ConfigError
from gateway.ingest.events import Direction, LegDescription, Role, StreamStarted
from gateway.toml import read_toml

Source = Literal[
    "asterisk", "audiosocket", "bandwidth", "exotel", "freeswitch", "genesys", "jambonz", "livekit", "plain", "plivo",
    "rtp", "signalwire", "sip", "siprec", "telnyx", "twilio", "vonage", "whip",
]  # fmt: skip
"""`source` of ``leg.started``."""
Band = Literal["narrow", "wide"]
NARROW_HZ = 8_000
"""Codecs at this sampling rate reach 4 kHz (ITU-T G.711); those at higher rates reach further."""
MAX_RULES = 100
_TABLE = re.compile(r"\s*\[+\s*(\w+)\s*\]+")
MAX_FAULTS = 20
"""Mistakes that are told; the others would be told by the hundred."""
DEFAULT = "default"
VERSION_DIGITS = 12
Word = Annotated[str, Field(min_length=1)]


class Values(BaseModel):
    """The values that a policy can set; None: not set here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    alert_p: Annotated[float, Field(ge=0.5, lt=1.0)] | None = None
    """An alert is raised above this rolling probability."""
    clear_p: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """An alert is cleared below this rolling probability."""
    min_alert_speech_s: Annotated[float, Field(ge=0.0, le=9.0)] | None = None
    """No alert is raised on less speech; at most 9 s, the length of the rolling evidence."""
    min_verdict_speech_s: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] | None = None
    """A leg with less scored speech ends `indeterminate`."""
    verifier: StrictBool | None = None
    """Whether the verifier scores the leg."""
    screen: StrictBool | None = None
    """Whether the leg is scored at all."""


KEYS = tuple(Values.model_fields)


class Rule(Values):
    """Values for the legs that meet all of the rule's conditions."""

    name: Word | None = None
    """For messages; a rule without a name is identified by its number."""
    source: Source | None = None
    role: Role | None = None
    leg: Word | None = None
    direction: Direction | None = None
    band: Band | None = None
    """``narrow``: sampled at 8 kHz; ``wide``: at a higher rate."""
    tenant: Word | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if not self.conditions():
            raise ValueError(f"expected at least one of {', '.join(CONDITIONS)}; [default] applies to all legs")
        if all(getattr(self, key) is None for key in KEYS):
            raise ValueError(f"expected at least one of {', '.join(KEYS)}")
        return self

    def conditions(self) -> dict[str, str]:
        """Return the conditions that are set."""
        return {key: value for key in CONDITIONS if (value := getattr(self, key)) is not None}


CONDITIONS = tuple(key for key in Rule.model_fields if key not in (*KEYS, "name"))


def facts_of(stream: StreamStarted, leg: LegDescription) -> dict[str, str]:
    """Return the facts of a leg that conditions refer to."""
    facts: dict[str, str] = {
        "source": stream.source,
        "role": leg.role,
        "leg": leg.leg,
        "direction": leg.direction,
        "band": "narrow" if leg.format.rate_hz <= NARROW_HZ else "wide",
    }
    return facts | ({"tenant": stream.tenant} if stream.tenant else {})


@dataclass(frozen=True, slots=True)
class Resolved:
    """A value, and where it comes from."""

    value: float | bool
    origin: str
    """``default``, or the rule by its name or number."""


class PolicyFile(BaseModel):
    """The content of a policy file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default: Values = Values()
    rule: Annotated[tuple[Rule, ...], Field(max_length=MAX_RULES)] = ()

    def resolve(self, facts: dict[str, str]) -> dict[str, Resolved]:
        """Return the values for a leg, by key; keys that the file does not set are absent.

        Args:
            facts: facts of the leg, see `facts_of`. A condition on an absent fact is not met.
        """
        held: dict[str, Resolved] = {}
        for origin, values in self._by_specificity(facts):
            given = {key: value for key in KEYS if (value := getattr(values, key)) is not None}
            held |= {key: Resolved(value, origin) for key, value in given.items()}
        return held

    def _by_specificity(self, facts: dict[str, str]) -> Iterator[tuple[str, Values]]:
        """Yield the default and the matching rules, least specific first."""
        yield DEFAULT, self.default
        fitting = [
            (len(conditions), number, rule)
            for number, rule in enumerate(self.rule)
            if (conditions := rule.conditions()).items() <= facts.items()
        ]
        for _, number, rule in sorted(fitting, key=lambda one: one[:2]):
            yield rule.name or f"rule {number + 1}", rule

    def check_thresholds(self, alert_p: float, clear_p: float) -> None:
        """Check that `clear_p` is less than `alert_p` for every possible leg. Raises ConfigError.

        Args:
            alert_p: the lowest value that applies where the file sets none.
            clear_p: the value that applies where the file sets none.
        """
        for facts in self._combinations():
            held = self.resolve(facts)
            raises, clears = (
                held.get("alert_p", Resolved(alert_p, "settings")),
                held.get("clear_p", Resolved(clear_p, "settings")),
            )
            if clears.value >= raises.value:
                raise ConfigError(
                    f"clear_p: expected less than alert_p, got {clears.value:g} ({clears.origin}) "
                    f"and {raises.value:g} ({raises.origin})"
                )

    def _combinations(self) -> Iterator[dict[str, str]]:
        """Yield the facts of a leg that meets both rules, for each compatible pair of rules that set a threshold.

        Pairs are enough: a third rule that matches such a leg matches every leg on which those two decide.
        """
        setting = [rule.conditions() for rule in self.rule if rule.alert_p is not None or rule.clear_p is not None]
        for one in ({}, *setting):
            for other in ({}, *setting):
                if all(one.get(key, value) == value for key, value in other.items()):
                    yield one | other


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid policy file."""

    text: str
    policy: PolicyFile

    @property
    def version(self) -> str:
        """The start of the text's SHA-256."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:VERSION_DIGITS]


def read(file: Path) -> Loaded:
    """Read a policy file. Raises ConfigError if it cannot be read or is invalid, see `parse`."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"policy: {file}: {error.strerror}; expected a TOML file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not TOML: {error}") from None
    return parse(text, str(file))


def parse(text: str, name: str) -> Loaded:
    """Parse the text of a policy file; `name` is for messages.

    Raises:
        ConfigError: one line per mistake: file, line, key, what was expected.
    """
    try:
        policy = PolicyFile.model_validate(read_toml(text))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
        told = [_explain(text, name, fault) for fault in faults[:MAX_FAULTS]]
        if len(faults) > MAX_FAULTS:
            told.append(f"{name}: and {len(faults) - MAX_FAULTS} more")
        raise ConfigError("\n".join(told)) from None
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
    """Return the line of a key, or else of its table; None if neither is found."""
    header, rules, inside = None, 0, len(place) == 1
    key = re.compile(rf"\s*\"?{re.escape(str(place[-1]))}\"?\s*=")
    for line, content in enumerate(text.splitlines(), start=1):
        if table := _TABLE.match(content):
            rules += table[1] == "rule"
            inside = table[1] == place[0] and (place[0] != "rule" or len(place) < 2 or rules == int(place[1]) + 1)
            header = header or (line if inside else None)
        elif inside and key.match(content):
            return line
    return header
