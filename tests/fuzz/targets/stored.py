"""What is read back from files: settings, from TOML and the environment, and the rows of a journal."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

from gateway.alerts.cloud_event import CloudEvent, envelope
from gateway.alerts.event import EVENT_TYPES, LegStarted
from gateway.alerts.journal import Entry, Journal
from gateway.call.recovery import endings
from gateway.config_loading import load
from gateway.errors import ConfigError
from gateway.ingest.kinds import kind_of
from tests.fuzz.mutations import Input, any_part, sequences
from tests.fuzz.target import Target
from tests.gateway.alerts.events import alert, call_started, leg_started

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
ENVIRON = '{"CALLSCREEN_DOORS": "{\\"telnyx\\": {\\"token\\": \\"t\\"}}", "CALLSCREEN_MAX_CALLS": "7"}'


def play_settings(given: Input) -> None:
    """A settings file: read, or refused by the key."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "callscreen.toml"
        for part in given:
            file.write_bytes(part if isinstance(part, bytes) else part.encode("utf-8", "replace"))
            try:
                settings = load(file, environ={})
                for name, door in settings.media_doors().items():
                    kind_of(name, door)
                settings.whip_door()
            except ConfigError:
                continue


def play_environment(given: Input) -> None:
    """One setting from the environment, another one for each value: in JSON, a number, a list."""
    names = ("DOORS", "MAX_CALLS", "SIP", "ALLOWED_ORIGINS", "IDLE_DEADLINE_S", "EXPECTED_MACHINE")
    for part in given:
        name = names[len(part) % len(names)]
        value = part.decode("utf-8", "replace") if isinstance(part, bytes) else part.encode("utf-8", "replace").decode()
        value = value.replace("\0", "")[:10_000]
        with patch.dict(os.environ, {f"CALLSCREEN_{name}": value}):
            try:
                load()
            except ConfigError:
                continue


WRITTEN = datetime(2026, 11, 1, tzinfo=UTC)


def _texts() -> Input:
    def written(event: CloudEvent) -> str:
        return event.model_dump_json(exclude_none=True)

    published = (call_started(), leg_started(), alert())
    return tuple(
        written(envelope(data, event_id=f"j-{seq:012d}", source="/callscreen/j", time=WRITTEN, sequence=str(seq)))
        for seq, data in enumerate(published, 1)
    )


def play_rows(given: Input) -> None:
    """A journal in whose rows something else stands than what was written there."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        path = Path(folder) / "j"
        with contextlib.closing(Journal(path, 1000)) as journal:
            journal.append([Entry(1, EVENT_TYPES[LegStarted], "CA1", "inbound", str(_texts()[1]))])
            cursor = journal.cursor(1)
        with contextlib.closing(sqlite3.connect(path)) as file, file:
            for number, part in enumerate(given):
                row = part if isinstance(part, bytes) else part.encode("utf-8", "replace").decode()
                file.execute("INSERT OR REPLACE INTO open VALUES (?, ?, ?)", (f"CA{number}", "", row))
                file.execute("INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?, ?)", (number + 2, row, row, row, row))
                journal_id = row if number % 4 == 3 else "0123456789ab"
                file.execute("UPDATE journal SET id = ?, events = ?", (journal_id, row if number % 4 == 2 else 1))
        try:
            journal = Journal(path, 1000)
        except ConfigError:
            return
        with contextlib.closing(journal):
            for entry in journal.after(0, 100):
                assert isinstance(entry.text, str)
                assert isinstance(entry.type, str)
            journal.position(cursor)
            for part in given:
                journal.position(f"{journal.id}-{part!s}")
                journal.position(str(part))
            with contextlib.suppress(ConfigError):
                for ending in endings(journal.open_calls()):
                    ending.model_dump_json()


CURSORS = ("9f2c41aa07d3-000000000042", "1", "9f2c41aa07d3-000000000042.0123456789ab")

TARGETS = [
    Target("settings-file", sequences([(FILE,)], any_part), play_settings),
    Target("settings-environment", sequences([(ENVIRON,), ("7",), ('["a"]',)], any_part), play_environment),
    Target("journal-rows", sequences([_texts(), (*_texts(), *CURSORS)], any_part), play_rows),
]
