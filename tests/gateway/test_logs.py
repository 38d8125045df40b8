"""Logs: one JSON object a line, with what was bound, without what is secret."""

from __future__ import annotations

import json
import logging

import pytest

from gateway import logs


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_log_line_is_json_with_bound_fields(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    logs.get("gateway.test").bind(call_id="c-1", leg="caller").warning("alert raised", p=0.97)
    (line,) = lines(capsys)
    assert line.pop("timestamp")
    assert line == {
        "event": "alert raised",
        "level": "warning",
        "logger": "gateway.test",
        "call_id": "c-1",
        "leg": "caller",
        "p": 0.97,
    }


@pytest.mark.parametrize("field", ["token", "twilio_auth_token", "X-Twilio-Signature", "from_number", "payload"])
def test_secrets_numbers_and_audio_are_blanked(capsys: pytest.CaptureFixture[str], field: str) -> None:
    logs.configure("info", "json")
    logs.get("gateway.test").info("refused", **{field: "hunter2"})
    (line,) = lines(capsys)
    assert line[field] == logs.REDACTED


@pytest.mark.parametrize(
    ("error", "written"),
    [
        ("user part: expected a name, got '+4930123456'", "user part: expected a name, got '[redacted]456'"),
        ("sip: not a message: sip:004930123456@pbx", "sip: not a message: sip:[redacted]456@pbx"),
        ("call_id: there is no live call '1763800000.10'", "call_id: there is no live call '1763800000.10'"),
        ("message: expected at most 4096 bytes, got 65536", "message: expected at most 4096 bytes, got 65536"),
    ],
)
def test_an_error_quotes_no_phone_number(capsys: pytest.CaptureFixture[str], error: str, written: str) -> None:
    logs.configure("info", "json")
    logs.get("gateway.test").warning("sip offer refused", error=error)
    (line,) = lines(capsys)
    assert line["error"] == written


@pytest.mark.parametrize(
    ("field", "value", "written"),
    [
        ("path", "/v1/calls/+4930123456", "/v1/calls/[redacted]456"),
        ("call_id", "+4930123456", "[redacted]456"),
        ("leg", "004930123456", "[redacted]456"),
        ("call_id", "12345678-0000-4000-8000-123456789012", "12345678-0000-4000-8000-123456789012"),
        ("call_id", "1763800000.10", "1763800000.10"),
        ("call_id", "CA1234567890", "CA1234567890"),
    ],
)
def test_of_a_number_the_last_digits_are_left(
    capsys: pytest.CaptureFixture[str], field: str, value: str, written: str
) -> None:
    logs.configure("info", "json")
    logs.get("gateway.test").info("call started", **{field: value})
    (line,) = lines(capsys)
    assert line[field] == written


def test_levels_and_chatty_libraries_are_kept_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    logs.get("gateway.test").debug("not this")
    logging.getLogger("aiortc.rtcrtpreceiver").info("nor this")
    logging.getLogger("uvicorn.error").warning("nor this: any stranger can cause it")
    logging.getLogger("uvicorn.error").error("but this")
    assert [line["event"] for line in lines(capsys)] == ["but this"]


def test_an_exception_is_in_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    try:
        raise ValueError("wrong")
    except ValueError:
        logs.get("gateway.test").exception("scoring failed")
    (line,) = lines(capsys)
    assert "ValueError: wrong" in str(line["exception"])


def test_the_console_shows_no_local_variables_of_an_exception(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "console")
    secret = "hunter" + "2"
    try:
        raise ValueError(f"wrong: {len(secret)}")
    except ValueError:
        logs.get("gateway.test").exception("scoring failed")
    written = capsys.readouterr().err
    assert "ValueError: wrong: 7" in written
    assert secret not in written


def test_the_console_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "console")
    logs.get("gateway.test").info("call started", call_id="c-1")
    assert "call started" in capsys.readouterr().err
