from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from gateway.alerts.bus import Bus
from gateway.alerts.cloud_event import CloudEvent, envelope
from gateway.alerts.event import AlertCleared, AlertRaised, AlertVerified, CallEnded, CallStarted, EventData, Gap
from gateway.alerts.journal import Journal
from gateway.clock import utc_now
from gateway.commands import watch
from tests.conftest import REPOSITORY
from tests.gateway.alerts.events import (
    ATTACHED,
    alert,
    call_ended,
    facts,
    leg_ended,
    leg_started,
    running,
    score,
    served,
    until,
)


@pytest.fixture
def journal(tmp_path: Path) -> Any:
    with closing(Journal(tmp_path / "j", 10_000)) as journal:
        yield journal


@asynccontextmanager
async def watching(url: str, *options: str, **environ: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "watch", url, *options),
        stdout=PIPE,
        stderr=PIPE,
        cwd=REPOSITORY,
        env=os.environ | environ,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def lines(process: Process, count: int) -> list[str]:
    assert process.stdout is not None
    async with asyncio.timeout(30):
        return [(await process.stdout.readline()).decode().rstrip() for _ in range(count)]


def words(text: str) -> str:
    """Return what is said, without the time and the layout."""
    return " ".join(text.split()[1:])


async def test_events_are_a_line_each_until_ctrl_c(journal: Journal) -> None:
    async with running(Bus(journal)) as bus, served(bus) as gateway, watching(gateway.url) as process:
        await until(lambda: any(one._live for one in bus._subscriptions))
        for data in (leg_started(), score(), alert(), leg_ended(), call_ended()):
            bus.publish(data)
        assert [words(text) for text in await lines(process, 4)] == [
            "CA1 inbound (caller) leg.started at 4.0 s p 0.97 speech 3.5 s because",
            "CA1 inbound (caller) alert.raised confirmed at 4.0 s p 0.97 speech 3.5 s because",
            "CA1 inbound (caller) leg.ended synthetic at 4.0 s p 0.97 speech 3.5 s because",
            "CA1 (caller) call.ended at 4.0 s p 0.97 speech 3.5 s because inbound: synthetic",
        ]
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
        assert (process.returncode, out, err) == (130, b"", b"")


async def test_json_lines_of_what_was_asked_for_since_a_cursor(journal: Journal) -> None:
    async with running(Bus(journal)) as bus, served(bus) as gateway:
        for data in (alert(), score(), alert(call_id="CA2"), score(leg="outbound"), alert(reason="x" * 300), score()):
            published = bus.publish(data)
        await bus.flush()
        query = ("--json", "--scores", "--call", "CA1", "--leg", "inbound", "--since", journal.cursor(1))
        async with watching(gateway.url, *query) as process:
            got = [CloudEvent.model_validate_json(text) for text in await lines(process, 3)]
        assert [event.sequence for event in got] == ["000000000002", "000000000005", "000000000006"]
        assert got[-1] == published
        async with watching(gateway.url, "--json", "--type", "score", "--since", journal.cursor(0)) as process:
            assert [json.loads(text)["type"] for text in await lines(process, 3)] == ["score"] * 3


async def test_gateway_that_goes_away_is_reported_and_waited_for(journal: Journal) -> None:
    async with running(Bus(journal)) as bus, AsyncExitStack() as stack:
        async with served(bus) as gateway:
            process = await stack.enter_async_context(watching(gateway.url))
            await until(lambda: any(one._live for one in bus._subscriptions))
            bus.publish(alert())
            await lines(process, 1)
        assert process.stderr is not None
        told = (await process.stderr.readline()).decode()
        assert told.startswith("callscreen watch: ")
        assert "; retry in " in told
        bus.publish(alert(call_id="CA2"))
        port = int(gateway.url.split(":")[2].partition("/")[0])
        async with served(bus, port):
            assert "CA2" in (await lines(process, 1))[0]
            process.kill()
            await process.wait()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("localhost:8080", "callscreen watch: url: expected http://HOST:PORT of a gateway"),
        ("{base}/elsewhere", "callscreen watch: HTTP 403"),
    ],
)
async def test_error_is_one_line(journal: Journal, url: str, told: str) -> None:
    async with running(Bus(journal)) as bus, served(bus) as gateway:
        base = gateway.url.removesuffix("/v1/events")
        async with watching(url.format(base=base)) as process, asyncio.timeout(30):
            out, err = await process.communicate()
    assert (process.returncode, out) == (1, b"")
    assert err.decode().startswith(told)
    assert err.count(b"\n") == 1


def parsed(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    watch.add_arguments(parser)
    return parser.parse_args(argv)


def test_token_comes_from_the_environment_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLSCREEN_TOKEN", "of-the-environment")
    assert parsed("http://h").token == "of-the-environment"
    assert parsed("http://h", "--token", "given").token == "given"


def test_unknown_type_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("http://h", "--type", "alert")
    assert "alert.raised" in capsys.readouterr().err


def line(data: EventData | Gap) -> str:
    event = envelope(data, event_id="j-1", source="/callscreen/j", time=utc_now(), sequence=None)
    return words(watch.line(event).plain)


def verified(verdict: str) -> AlertVerified:
    more = {"alert_id": None, "judged_speech_s": 6.0, "filter_p_synthetic": 0.5, "lag_ms": 200.0}
    return AlertVerified.model_validate(facts() | more | {"verdict": verdict})


def test_line_of_a_verification() -> None:
    assert "alert.verified inconclusive at" in line(verified("inconclusive"))


def test_line_of_events_that_have_less_to_tell() -> None:
    nothing: dict[str, Any] = dict.fromkeys(("role", "media_time_s", "p_synthetic", "speech_s", "model"))
    assert line(CallStarted(**facts(leg=None) | nothing, **ATTACHED)) == "CA1 call.started because"
    assert line(Gap(after="x", resumed_at=None, reason="cursor_too_old")) == "gap cursor_too_old"


def test_colour_follows_what_matters() -> None:
    def style(data: EventData) -> str:
        event = envelope(data, event_id="j-1", source="/callscreen/j", time=utc_now(), sequence=None)
        text = watch.line(event)
        position = text.plain.index(event.type)
        return str(next(span.style for span in text.spans if span.start <= position < span.end))

    assert style(alert()) == "bold red"
    assert style(AlertRaised(**facts(), alert_id="a", stage="provisional", lag_ms=1.0)) == "yellow"
    assert style(AlertCleared(**facts(), alert_id="a")) == "green"
    assert style(verified("escalated")) == "bold red"
    assert style(verified("cleared")) == "green"
    assert style(verified("inconclusive")) == "yellow"


def test_names_from_strangers_cannot_steer_the_terminal() -> None:
    hostile = "CA\x1b[2J\n\r\u202e[red]"
    told = line(CallEnded(**facts(hostile, None, role=None), verdicts={hostile: "human"}))
    assert told.isprintable()
    assert "[red]" in told, "and no markup either"
