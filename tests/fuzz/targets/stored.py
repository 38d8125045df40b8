"""What is read back from files: settings, from TOML and the environment, and the rows of a journal.

Opening a journal and reading settings as the gateway does costs 3 to 20 ms, nearly all of it for what no input changes.
So there are two targets for each: one for the parsers alone, and one for the whole way to them.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource
from starlette.datastructures import QueryParams

from gateway.alerts import history
from gateway.alerts.cloud_event import CloudEvent, envelope
from gateway.alerts.event import EVENT_TYPES, STORED_TYPES, FeedbackGiven, LegStarted
from gateway.alerts.journal import Entry, Journal
from gateway.alerts.subscription import Filter
from gateway.call.recovery import endings
from gateway.config import Settings
from gateway.config_loading import _explain, load
from gateway.errors import ConfigError, RequestError, Unprocessable
from gateway.http.calls import read_query
from gateway.http.feedback import OPERATOR, read_feedback
from gateway.ingest.kinds import kind_of
from gateway.policy import parse
from gateway.toml import read_toml
from tests.fuzz.mutations import Input, Part, any_part, sequences
from tests.fuzz.target import Target
from tests.gateway.alerts.events import alert, call_started, facts, leg_started

FILE = """host = "0.0.0.0"
token = "t"
public_url = "https://gw.example.com"
max_calls = 50
max_burst_s = 30.5
alert_p = 0.9
allowed_origins = ["https://desk.example.com"]
ice_servers = ["stun:stun.example.com:3478"]
[roles]
left = "agent"
[doors.telnyx]
token = "t"
roles = {inbound = "customer"}
idle_deadline_s = 60
[doors.desk]
dialect = "freeswitch"
allow_ips = ["10.0.0.0/8"]
[whip]
tenant_parameter = "org"
[audiosocket]
listen = "10.0.0.5:9092"
secret = "at least sixteen characters"
[audiosocket.uuids."40325ec2-5efd-4bd3-805f-53576e581d13"]
call_id = "desk-7"
leg = "caller"
[sip]
udp = "10.0.0.5:5060"
allow_ips = ["10.0.0.0/24"]
rtp_ports = [10000, 10999]
user_pattern = '(?P<call_id>\\d+)-(?P<leg>\\w+)'
[rtp.room]
listen = "[::1]:5004"
srtp_key = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"
payload_types = { 111 = "opus/48000" }
[rtp.room.legs]
alice = { ssrc = 1111, role = "caller" }
[[expected_machine]]
role = "callee"
to_s = 20
"""
SECTIONS = [f"[{section}" for section in FILE.split("\n[")[1:]]
ENVIRON = '{"CALLSCREEN_DOORS": "{\\"telnyx\\": {\\"token\\": \\"t\\"}}", "CALLSCREEN_MAX_CALLS": "7"}'
NAMES = ("DOORS", "MAX_CALLS", "SIP", "ALLOWED_ORIGINS", "IDLE_DEADLINE_S", "EXPECTED_MACHINE")


def _bytes(part: Part) -> bytes:
    return part if isinstance(part, bytes) else part.encode("utf-8", "replace")


def _variable(part: Part) -> tuple[str, str]:
    """The name and value of an environment variable, as far as it can be one."""
    return NAMES[len(part) % len(NAMES)], _bytes(part).decode("utf-8", "replace").replace("\0", "")[:10_000]


def play_settings(given: Input) -> None:
    """A settings file, and a variable beside it: read, or refused by the key."""
    with _temporary() as folder:
        file = folder / "callscreen.toml"
        for part in given:
            file.write_bytes(_bytes(part))
            name, value = _variable(part)
            for environ in ({}, {f"CALLSCREEN_{name}": value}):
                with patch.dict(os.environ, environ):
                    try:
                        settings = load(None if environ else file, environ=environ)
                        for door_name, door in settings.media_doors().items():
                            kind_of(door_name, door)
                        settings.whip_door()
                    except ConfigError:
                        continue


def play_toml(given: Input) -> None:
    """The text of a settings file, and what stands in it."""
    for part in given:
        try:
            _settings(read_toml(_bytes(part).decode()))
        except (ValueError, RecursionError):
            continue


def play_environment(given: Input) -> None:
    """One setting from the environment, another one for each value: in JSON, a number, a list."""
    source = _environment()
    for part in given:
        name, value = _variable(part)
        field = Settings.model_fields[name.lower()]
        try:
            read = source.prepare_field_value(name.lower(), field, value, source.field_is_complex(field))
        except (ValueError, RecursionError):
            continue
        _settings({name.lower(): read})


@functools.cache
def _environment() -> EnvSettingsSource:
    return EnvSettingsSource(Settings)


def _settings(values: dict[str, Any]) -> None:
    """Check `values` as `load` does; what is wrong with them can be told."""
    settings = Settings.__new__(Settings)
    try:
        Settings.__pydantic_validator__.validate_python(values, self_instance=settings)
        for name, door in settings.media_doors().items():
            kind_of(name, door)
        settings.whip_door()
    except ValidationError as error:
        _explain(error)
    except ConfigError:
        pass


@contextlib.contextmanager
def _temporary() -> Iterator[Path]:
    """A folder in memory, where there is one."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield Path(folder)


OF_A_TENANT = Filter(types=frozenset(STORED_TYPES), tenant="blue")
WRITTEN = datetime(2026, 11, 1, tzinfo=UTC)


def _texts() -> Input:
    def written(event: CloudEvent) -> str:
        return event.model_dump_json(exclude_none=True)

    published = (call_started(), leg_started(), alert())
    return tuple(
        written(envelope(data, event_id=f"j-{seq:012d}", source="/callscreen/j", time=WRITTEN, sequence=str(seq)))
        for seq, data in enumerate(published, 1)
    )


def _begun(path: Path) -> str:
    """A journal with one event; returns the event's cursor."""
    with contextlib.closing(Journal(path, 1000)) as journal:
        journal.append([Entry(1, EVENT_TYPES[LegStarted], "CA1", "inbound", str(_texts()[1]))])
        return journal.cursor(1)


def _replace(file: sqlite3.Connection, rows: list[str]) -> None:
    """Have the rows of calls and events be something else than what was written there."""
    for number, row in enumerate(rows):
        file.execute("INSERT OR REPLACE INTO open VALUES (?, ?, ?)", (f"CA{number}", "", row))
        file.execute("INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?, ?)", (number + 2, row, row, row, row))


def _read(journal: Journal, cursor: str, given: Input) -> None:
    for entry in journal.after(0, 100):
        assert isinstance(entry.text, str)
        assert isinstance(entry.type, str)
        OF_A_TENANT.accepts(entry)
    list(history.decoded(_rows(given)))
    journal.position(cursor)
    for part in given:
        journal.position(f"{journal.id}-{part!s}")
        journal.position(str(part))
    with contextlib.suppress(ConfigError):
        for ending in endings(journal.open_calls()):
            ending.model_dump_json()


def _rows(given: Input) -> list[str]:
    return [_bytes(part).decode("utf-8", "replace") for part in given]


def play_journal(given: Input) -> None:
    """A journal that was changed while no gateway had it."""
    with _temporary() as folder:
        path = folder / "j"
        cursor = _begun(path)
        with contextlib.closing(sqlite3.connect(path)) as file, file:
            _replace(file, _rows(given))
            for number, row in enumerate(_rows(given)):
                journal_id = row if number % 4 == 3 else "0123456789ab"
                file.execute("UPDATE journal SET id = ?, events = ?", (journal_id, row if number % 4 == 2 else 1))
        try:
            journal = Journal(path, 1000)
        except ConfigError:
            return
        with contextlib.closing(journal):
            _read(journal, cursor, given)


def play_policy(given: Input) -> None:
    """A policy file: read, or refused by line and key; then it holds for a leg."""
    for part in given:
        try:
            policy = parse(_bytes(part).decode("utf-8", "replace"), "policy.toml").policy
            policy.check_thresholds(0.9, 0.5)
        except ConfigError as error:
            str(error).encode()
            continue
        policy.resolve({"source": "twilio", "role": "agent", "band": "narrow", "leg": "inbound"})


class _OpenJournal:
    """One journal for all inputs, whose rows another connection replaces."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        path = Path(self._folder.name) / "j"
        self._cursor = _begun(path)
        self._journal = Journal(path, 1000)
        self._file = sqlite3.connect(path)
        self._file.execute("PRAGMA synchronous = OFF")

    def play(self, given: Input) -> None:
        with self._file:
            self._file.execute("DELETE FROM open")
            self._file.execute("DELETE FROM events WHERE seq > 1")
            _replace(self._file, _rows(given))
        _read(self._journal, self._cursor, given)

    def page(self, query: str) -> None:
        """Answer ``GET /v1/calls``. Raises Unprocessable."""
        asked = read_query(QueryParams(query.encode()), self._journal, None)
        history.page(self._file, asked.query, asked.before, asked.limit)


@functools.cache
def _open_journal() -> _OpenJournal:
    return _OpenJournal()


def play_rows(given: Input) -> None:
    """Rows of a journal that is open."""
    _open_journal().play(given)


def play_calls_query(given: Input) -> None:
    """What calls somebody wants to see."""
    for part in given:
        try:
            _open_journal().page(_bytes(part).decode("utf-8", "replace"))
        except Unprocessable as error:
            str(error).encode()


def play_feedback(given: Input) -> None:
    """What somebody says of an alert."""
    for part in given:
        try:
            feedback = read_feedback(_bytes(part))
        except RequestError as error:
            str(error).encode()
            continue
        said = {"alert_id": "a1", "verdict": feedback.verdict, "note": feedback.note, "reason": OPERATOR}
        event = FeedbackGiven.model_validate(facts() | said)
        envelope(event, event_id="j-1", source="/callscreen/j", time=WRITTEN, sequence="1").model_dump_json().encode()


POLICY = """[default]
alert_p = 0.98
min_verdict_speech_s = 2

[[rule]]
name = "agents"
role = "agent"
screen = false

[[rule]]
tenant = "blue"
band = "narrow"
alert_p = 0.95
verifier = false
"""
QUERY = "since=2026-11-27T21:00:00Z&until=2026-11-28T00:00:00%2B01:00&verdict=human&text=CA&state=ended&limit=20"
FEEDBACK = '{"verdict": "dismissed", "note": "a colleague"}'
CURSORS = ("9f2c41aa07d3-000000000042", "1", "9f2c41aa07d3-000000000042.0123456789ab")
VARIABLES: list[Input] = [(ENVIRON,), ('{"telnyx": {"token": "t"}}',), ("7",), ('["a"]',)]

TARGETS = [
    Target("settings-file", sequences([(section,) for section in SECTIONS], any_part), play_toml),
    Target("settings-environment", sequences(VARIABLES, any_part), play_environment),
    Target("settings", sequences([(FILE,), *VARIABLES], any_part), play_settings, slow=True),
    Target("policy-file", sequences([(POLICY,)], any_part), play_policy),
    Target("calls-query", sequences([(QUERY,), ("verdict=human&cursor=x-1",)], any_part), play_calls_query),
    Target("feedback", sequences([(FEEDBACK,)], any_part), play_feedback),
    Target("journal-rows", sequences([_texts(), (*_texts()[:1], *CURSORS)], any_part), play_rows),
    Target("journal", sequences([_texts(), (*_texts(), *CURSORS)], any_part), play_journal, slow=True),
]
