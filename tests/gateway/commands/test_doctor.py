"""What the doctor finds: each fault named by its setting, nothing changed, and an exit code for scripts."""

from __future__ import annotations

import datetime
import json
import os
import re
import socket
from contextlib import closing
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.__main__ import main
from gateway.alerts.cloud_event import envelope
from gateway.alerts.journal import Entry, Journal
from gateway.call import verification
from gateway.commands import doctor
from tests.gateway.alerts.events import alert
from tests.gateway.auth.test_jwt_tokens import NEXT, OURS, public

TOKEN = "0123456789abcdef01234567"
OUTSIDE = f'host = "0.0.0.0"\ntoken = "{TOKEN}"\npublic_url = "https://gw.example.com"\nport = 0\n'


def found(folder: Path, text: str) -> dict[str, tuple[str, str]]:
    """Write a configuration, let the doctor look, return state and detail of each check."""
    config = folder / "callscreen.toml"
    config.write_text(text if "journal" in text else f'journal = "{folder / "j.sqlite3"}"\n{text}')
    return {finding.check: (finding.state, finding.detail) for finding in doctor.examine(config)}


def errors(findings: dict[str, tuple[str, str]]) -> set[str]:
    return {check for check, (state, _) in findings.items() if state == "error"}


def test_a_valid_configuration_has_no_errors(tmp_path: Path) -> None:
    findings = found(tmp_path, OUTSIDE)
    assert errors(findings) == set()
    assert findings["model"][0] == findings["journal"][0] == findings["port"][0] == findings["token"][0] == "ok"
    assert findings["doors.plain"] == ("ok", "/v1/media/plain asks for the gateway's token")
    assert not (tmp_path / "j.sqlite3").exists()


def test_loopback_needs_no_token_or_tls(tmp_path: Path) -> None:
    findings = found(tmp_path, "port = 0")
    assert {state for state, _ in findings.values()} <= {"ok", "note"}
    assert findings["token"] == ("ok", "none; only this machine can connect")


def test_nats_on_this_machine_needs_no_tls(tmp_path: Path) -> None:
    findings = found(tmp_path, 'port = 0\nnats = {url = "nats://127.0.0.1:4222", stream = "calls"}')
    assert findings["nats"] == ("ok", "events go to the stream calls; the server was not contacted")


def test_a_pool_of_verifiers_needs_no_cpu_here(tmp_path: Path) -> None:
    state, detail = found(tmp_path, 'port = 0\nnats = {url = "nats://127.0.0.1:4222", verifier_pool = true}')[
        "verifier"
    ]
    assert state == "ok"
    assert "`callscreen verifier` processes score with it" in detail


def test_unreadable_settings_are_the_only_finding(tmp_path: Path) -> None:
    findings = doctor.examine(tmp_path / "none.toml")
    assert [(finding.check, finding.state) for finding in findings] == [("settings", "error")]
    assert "No such file" in findings[0].detail
    assert "max_cals" in found(tmp_path, "max_cals = 1")["settings"][1]


def test_a_webhook_whose_secret_is_not_there_is_named(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    webhook = f'port = 0\n[[webhooks]]\nname = "desk"\nurl = "https://hooks.example.com/x"\nsecret_file = "{secret}"\n'
    assert found(tmp_path, webhook)["webhooks: desk"] == (
        "error", "webhooks.desk.secret_file: No such file or directory"
    )  # fmt: skip
    secret.write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    state, detail = found(tmp_path, webhook)["webhooks: desk"]
    assert (state, "public addresses only" in detail) == ("ok", True)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_ports_in_use_are_named(tmp_path: Path, kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        rtp = f'port = 0\n[rtp.desk]\nlisten = "127.0.0.1:{port}"\nlegs = {{caller = {{}}}}'
        findings = found(tmp_path, f"port = {port}" if kind == socket.SOCK_STREAM else rtp)
    (fault,) = errors(findings)
    assert fault == ("port" if kind == socket.SOCK_STREAM else "rtp.desk.listen")
    assert f"127.0.0.1 {port}" in findings[fault][1]
    assert "Address already in use" in findings[fault][1]


def test_a_missing_model_is_an_error(tmp_path: Path) -> None:
    findings = found(tmp_path, 'port = 0\nmodel = "nothing"')
    assert errors(findings) == {"model"}
    assert "nothing" in findings["model"][1]


def test_verifiers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    findings = found(tmp_path, 'port = 0\nverifier = "tinyaudionet"\nverifier_cpu_share = 0.25')
    state, told = findings["verifier"]
    assert state == "ok"
    assert re.search(r"tinyaudionet@\w+: \d+ ms of CPU per window; .* = 0\.25 covers \d+ legs", told)
    state, told = findings["fusion"]
    assert (state, "the mean of both models" in told) == ("note", True)
    state, told = found(tmp_path, 'port = 0\nverifier = "tinyaudionet"\nverifier_cpu_share = 0.00001')["verifier"]
    assert (state, "covers 0 legs" in told) == ("warning", True)
    assert found(tmp_path, "port = 0\nverifier_cpu_share = 0")["verifier"][0] == "note"
    assert found(tmp_path, 'port = 0\nverifier = "off"')["verifier"][0] == "note"
    assert errors(found(tmp_path, 'port = 0\nverifier = "nothing"')) == {"verifier"}
    monkeypatch.setattr(verification, "VERIFIER", None)
    assert found(tmp_path, "port = 0")["verifier"][0] == "note"
    monkeypatch.setattr(verification, "VERIFIER", "nothing")
    assert found(tmp_path, "port = 0")["verifier"][0] == "warning"


def test_journals(tmp_path: Path) -> None:
    Journal(tmp_path / "good", 10).close()
    assert found(tmp_path, f'port = 0\njournal = "{tmp_path / "good"}"')["journal"][0] == "ok"
    (tmp_path / "bad").write_bytes(b"not a database" * 100)
    for name in ("bad", "nowhere/journal"):
        assert errors(found(tmp_path, f'port = 0\njournal = "{tmp_path / name}"')) == {"journal"}


def certificate(folder: Path, days: int) -> str:
    """Write a self-signed certificate; return SIP settings that use it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gw.example.com")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=100))
        .not_valid_after(now + datetime.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    none = serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, none))
    files = f'tls_certificate = "{folder / "cert.pem"}"\ntls_key = "{folder / "key.pem"}"'
    return f'port = 0\n[sip]\ntls = "127.0.0.1:0"\n{files}'


@pytest.mark.parametrize(("days", "state"), [(300, "ok"), (3, "warning"), (-1, "error")])
def test_the_validity_of_a_certificate_is_checked(tmp_path: Path, days: int, state: str) -> None:
    assert found(tmp_path, certificate(tmp_path, days))["sip.tls_certificate"][0] == state


def test_a_missing_key_is_an_error(tmp_path: Path) -> None:
    settings = certificate(tmp_path, 300)
    (tmp_path / "key.pem").unlink()
    assert errors(found(tmp_path, settings)) == {"sip.tls_certificate, sip.tls_key, sip.tls_client_ca"}


@pytest.mark.parametrize(
    ("settings", "check", "words"),
    [
        ('host = "0.0.0.0"\nallow_anonymous = true', "token", "whoever reaches this port"),
        ('host = "0.0.0.0"\nallow_anonymous = true', "doors.twilio", "asks for nothing"),
        ('token = "short"', "token", "shorter than 16"),
        ('token = "with/slashes+and=signs=="', "token", "browsers cannot send"),
        (f'host = "0.0.0.0"\ntoken = "{TOKEN}"', "public_url", "vendors sign this URL"),
        ('public_url = "http://gw.example.com"', "public_url", "not https"),
        ('nats = {url = "tls://a.example.com:4222, nats://b.example.com:4222"}', "nats", "unencrypted"),
        ('nats = {url = "nats://a.example.com:4222", verifier_pool = true}', "nats", "events and speech may cross"),
    ],
)
def test_dangerous_settings_are_warned_about(tmp_path: Path, settings: str, check: str, words: str) -> None:
    state, detail = found(tmp_path, f"port = 0\n{settings}")[check]
    assert (state, words in detail) == ("warning", True)


@pytest.mark.parametrize(
    ("settings", "check", "words"),
    [
        ("[doors.nobody]", "doors.nobody", "expected one of"),
        ('[audiosocket]\nlisten = "127.0.0.1:0"', "audiosocket", "every connection is refused"),
        ('ice_servers = ["http://stun.example.com"]', "ice_servers", "http://stun.example.com"),
        ('nats = {url = "tls://a:4222", ca = "none.pem"}', "nats.ca, nats.credentials", "No such file"),
        ('nats = {url = "tls://a:4222", credentials = "/none.creds"}', "nats.ca, nats.credentials", "/none.creds"),
    ],
)
def test_settings_that_cannot_work_are_errors(tmp_path: Path, settings: str, check: str, words: str) -> None:
    findings = found(tmp_path, f"port = 0\n{settings}")
    assert errors(findings) == {check}
    assert words in findings[check][1]


def test_the_command_shows_a_table_or_json_and_exits_with_a_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "callscreen.toml"
    config.write_text(f'port = 0\njournal = "{tmp_path / "j"}"\ntoken = "{TOKEN}"')
    assert main(["doctor", "--config", str(config)]) == 0
    assert "/v1/media/plain asks for the gateway's token" in capsys.readouterr().out
    config.write_text('model = "nothing"\nport = 0')
    assert main(["doctor", "--config", str(config), "--json"]) == 1
    out = capsys.readouterr().out
    assert {"check": "settings", "state": "ok", "detail": f"read from {config}"} in json.loads(out)
    assert TOKEN not in out


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    assert errors(found(tmp_path, f'port = 0\njournal = "{tmp_path / "locked" / "j"}"')) == {"journal"}


def test_the_keys_of_an_issuer_are_checked(tmp_path: Path) -> None:
    jwks = tmp_path / "jwks.json"
    text = f'verifier = "off"\n[jwt]\njwks_file = "{jwks}"\nissuer = "i"\naudience = "a"\n'
    assert found(tmp_path, text)["jwt.jwks_file"][0] == "error"
    jwks.write_text('{"keys": []}')
    assert found(tmp_path, text)["jwt.jwks_file"][0] == "error"
    jwks.write_text(json.dumps({"keys": [public(OURS, "one"), public(NEXT, "next")]}))
    assert found(tmp_path, text)["jwt.jwks_file"] == ("ok", "2 key(s) of i")


def test_the_clock_is_compared_with_the_journal(tmp_path: Path) -> None:
    ahead = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=2)
    with closing(Journal(tmp_path / "j.sqlite3", 10)) as journal:
        event = envelope(alert(), event_id=journal.cursor(1), source=journal.source, time=ahead, sequence="1")
        journal.append([Entry(1, event.type, "CA1", "inbound", event.model_dump_json())])
    state, detail = found(tmp_path, "port = 0")["clock"]
    assert (state, f"{ahead:%Y-%m-%d}" in detail) == ("warning", True)


def test_the_disk_must_hold_the_journal(tmp_path: Path) -> None:
    assert found(tmp_path, "port = 0\njournal_max_events = 1")["journal: disk"][0] == "ok"
    state, detail = found(tmp_path, "port = 0\njournal_max_events = 1000000000000000")["journal: disk"]
    assert (state, "GB are free" in detail) == ("warning", True)


def test_an_otlp_endpoint_that_does_not_answer(tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        state, detail = found(tmp_path, f'port = 0\notlp_endpoint = "{url}"')["otlp_endpoint"]
    assert (state, url in detail) == ("warning", True)
