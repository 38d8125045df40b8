"""The pages, as a browser shows them: a whole call from one tab, the live view, tokens, and what they may load."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest
from prometheus_client import REGISTRY
from websockets.asyncio.client import connect

from gateway import pages
from gateway.app import Server, running
from gateway.config_loading import load
from gateway.evidence.age import new_pair
from tests.gateway.auth.test_tokens import row
from tests.gateway.browser import Tab, browser, needs_chromium
from tests.gateway.conftest import Serve
from tests.gateway.loudness import speech
from tests.gateway.pages.relay import relay
from tests.gateway.sound_server import write_wav
from tests.gateway.wire import plain, subscribed, ws_url

pytestmark = pytest.mark.usefixtures("detector")
TOKEN = "s3cret"
RELEASED = {
    "/pages/uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "/pages/uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}
"""Files of uPlot 1.6.32, unchanged: SHA-256 of those in its npm package."""
SHOWN_P = "document.querySelectorAll('tbody tr td')[2].innerText"
RED_PIXELS = """(() => {
    const canvas = document.querySelector('.plot canvas');
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let red = 0;
    for (let at = 0; at < data.length; at += 4) red += data[at] > 150 && data[at + 1] < 80 && data[at + 3] > 200;
    return red;
})()"""
"""How much of the first leg's line there is, in a light page."""


def scored_share() -> str:
    """Of all windows with speech, as the page shows it: metrics are the process's, so earlier tests count, too."""
    outcomes = {
        sample.labels["outcome"]: sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "callscreen_windows_total"
    }
    spoken = sum(outcomes.values()) - outcomes.get("no_speech", 0)
    return f"{100 * outcomes['scored'] / spoken:.1f} %"


@pytest.mark.parametrize("path", pages.FILES)
async def test_pages_are_open_and_may_load_nothing_from_elsewhere(serve: Serve, path: str) -> None:
    server = await serve(token=TOKEN)
    async with httpx.AsyncClient(base_url=server.url) as web:
        answer = await web.get(path)
    assert answer.status_code == 200
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert {policy["script-src"], policy["style-src"], policy["connect-src"]} == {"'self'"}
    assert policy["frame-ancestors"] == "'none'"
    if path in RELEASED:
        assert hashlib.sha256(answer.content).hexdigest() == RELEASED[path]
        return
    assert "://" not in answer.text
    assert not {"innerHTML", "localStorage", "sessionStorage", "cookie"} & set(answer.text.replace(".", " ").split())


async def test_everything_in_the_folder_is_served() -> None:
    folder = Path(pages.__file__).parent
    assert set(pages.FILES.values()) == {file.name for file in folder.iterdir() if file.suffix in pages.MEDIA_TYPES}


@pytest.mark.slow
@needs_chromium
async def test_both_sides_of_a_call_are_sent_from_one_tab(serve: Serve, tmp_path: Path) -> None:
    """The microphone speaks quietly, as a human does here; the other side is a loud voice in the tab that is shared."""
    server = await serve(token=TOKEN)
    microphone = write_wav(tmp_path / "microphone.wav", speech(30, synthetic=False))
    write_wav(tmp_path / "voice.wav", speech(30, synthetic=True))
    meeting = tmp_path / "meeting.html"
    meeting.write_text("<title>Meeting</title><audio src=voice.wav autoplay loop></audio>")
    flags = [f"--use-file-for-fake-audio-capture={microphone}", "--auto-select-tab-capture-source-by-title=Meeting"]
    async with (
        browser(tmp_path, *flags) as chromium,
        chromium.tab(meeting.as_uri()),
        chromium.tab(f"{server.url}/call") as page,
        subscribed(server, f"?call_id=web-1&token={TOKEN}") as events,
    ):
        await page.type("call", "web-1")
        await page.type("token", "wrong")
        await page.click("microphone")
        await page.until("fault", "token: missing or wrong")
        await page.type("token", TOKEN)
        await page.click("microphone")
        await page.until("calls", "agent")
        await page.click("screen")
        await page.until("alerts", "web-1: customer sounds synthetic (confirmed")
        assert "customer" in await page.text("calls")
        assert "agent sounds" not in await page.text("alerts")
        await page.click("end")
        ended = await events.until("call.ended")
    verdicts = ended["data"]["verdicts"]
    assert (verdicts["customer"], verdicts["agent"] == "synthetic") == ("synthetic", False)


@pytest.mark.slow
@needs_chromium
async def test_the_live_view_asks_for_a_token_and_shows_calls(serve: Serve, tmp_path: Path) -> None:
    evidence = {"folder": tmp_path / "evidence", "public_keys": [new_pair()[1]]}
    server = await serve(token=TOKEN, verifier="the same again", evidence=evidence)
    async with (
        browser(tmp_path) as chromium,
        chromium.tab(f"{server.url}/") as page,
        connect(
            ws_url(server, f"/v1/media/plain?call_id=c-1&leg=customer&encoding=s16le&rate=16000&token={TOKEN}")
        ) as call,
    ):
        await page.type("token", "wrong")
        await page.run("document.getElementById('access').requestSubmit()")
        await page.until("fault", "token: missing or wrong")
        assert await page.run("document.getElementById('dashboard').hidden")
        await page.type("token", TOKEN)
        await page.run("document.getElementById('access').requestSubmit()")
        await page.until("calls", "no speech yet")
        assert await page.run("document.getElementById('access').offsetParent === null")
        voice = (speech(12, synthetic=True) * 32767).astype("<i2").tobytes()
        for at in range(0, len(voice), 640):
            await call.send(voice[at : at + 640])
        await page.until("alerts", "c-1: customer sounds synthetic (provisional, p ")
        await page.until("alerts", "c-1: customer verified: confirmed (verifier_synthetic, p ")
        await page.until("calls", "synthetic, alert confirmed")
        await page.until("alerts", "c-1: customer audio stored (")
        await page.run("document.querySelector('#alerts .feedback button').click()")
        await page.until("alerts", "confirmed: it was synthetic")
        assert await page.run("document.querySelector('tbody tr').innerText.split('\\t').slice(0, 2).join()") == (
            "customer,customer"
        )
        assert await page.run("document.querySelector('.plot').ariaLabel") == (
            f"Timeline of the legs' probability of being synthetic. customer: {await page.run(SHOWN_P)}."
        )
        assert await page.run(RED_PIXELS) > 50
        await page.until("health", "ready")
        await page.type("wanted", "another")
        await page.run("new Promise((done) => setTimeout(done, 2500))")
        assert await page.text("calls") == ""
        await call.close()
        await page.until("count", "0 live")
        await check_history(page)
        await page.until("health", scored_share())
        await page.until("empty", "Attach the first one")
        assert f"{ws_url(server, '/v1/media')}/plain?" in await page.run("document.getElementById('empty').textContent")


@pytest.mark.slow
@needs_chromium
async def test_a_token_without_admin_sees_calls_and_the_gateways_state_but_no_metrics(
    serve: Serve, tmp_path: Path
) -> None:
    server = await serve(tokens=[row("desk", "subscribe")])
    async with browser(tmp_path) as chromium, chromium.tab(f"{server.url}/") as page:
        await page.type("token", "desk-t0ken")
        await page.run("document.getElementById('access').requestSubmit()")
        await page.until("empty", "Attach the first one")
        await page.until("health", "ready")
        assert "delay" not in await page.text("health")
        assert await page.text("connection") == ""


async def check_history(page: Tab) -> None:
    """The call has ended: it is found by its name and verdict, with its alert and what was said of it."""
    await page.type("text", "another")
    await page.click("find")
    await page.until("history-found", "No such call.")
    await page.type("text", "C-")
    await page.run("document.getElementById('verdict').value = 'synthetic'")
    await page.run("document.getElementById('since').value = '2020-01-01T00:00'")
    await page.click("find")
    await page.until("history", "customer: synthetic")
    await page.until("history", "confirmed: it was synthetic")
    await page.run("document.querySelectorAll('#history .feedback button')[1].click()")
    await page.until("history", "dismissed: a false alarm")
    await page.until("alerts", "dismissed: a false alarm")


@pytest.mark.slow
@needs_chromium
async def test_the_live_view_tells_expected_machines_and_leaks(serve: Serve, tmp_path: Path) -> None:
    server = await serve(expected_machine=[{"leg": "callee"}])
    path = "/v1/media/plain?call_id=c-1&leg=callee,echo&encoding=s16le&rate=16000&channels=2"
    async with browser(tmp_path) as chromium, chromium.tab(f"{server.url}/") as page:
        await page.until("count", "0 live")  # before the call connects: it is live from then on
        async with connect(ws_url(server, path)) as call:
            voice = speech(10, synthetic=True)
            both = (np.stack((voice, 0.2 * np.roll(voice, 3200)), axis=1) * 32767).astype("<i2").tobytes()
            for at in range(0, len(both), 1280):
                await call.send(both[at : at + 1280])
            await page.until("alerts", "c-1: callee is an expected machine (p ")
            await page.until("calls", "expected machine")
            await page.until("calls", "windows were another leg's voice")


FOLLOWING = """(async () => {
    window.got = [];
    const { Gateway } = await import("/pages/gateway.js");
    const events = new Gateway("").follow({ lastEventId: "CURSOR" });
    (async () => { for await (const event of events) got.push(event); })();
})()"""
ENDED = "got.filter((event) => event.type === 'call.ended').map((event) => event.data.call_id).join()"
NUMBERS = "got.filter((event) => event.sequence).map((event) => event.sequence)"


@pytest.mark.slow
@needs_chromium
async def test_a_page_goes_on_after_a_cut_and_a_restart_and_is_told_of_a_gap(tmp_path: Path) -> None:
    """The client that the dashboard itself uses, in the dashboard."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]

    def server(journal: str) -> AbstractAsyncContextManager[Server]:
        return running(load(environ={}, port=port, journal=tmp_path / journal, verifier="off"))

    async def call(at: Server, call_id: str) -> None:
        """A call with nothing in it, until the page has heard of its end."""
        async with plain(at, "caller", call_id):
            pass
        async with asyncio.timeout(40):
            while not (await page.run(ENDED)).endswith(call_id):  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    async with relay(port) as line, browser(tmp_path) as chromium, AsyncExitStack() as tabs:
        async with server("journal") as first:
            page = await tabs.enter_async_context(chromium.tab(f"{line.url}/"))
            await page.until("count", "0 live")
            await page.run(FOLLOWING.replace("CURSOR", first.bus.journal.cursor(0)))
            await call(first, "c-1")
            line.cut()
            await call(first, "c-2")
        async with server("journal") as second:
            await call(second, "c-3")
            numbers = await page.run(NUMBERS)
            assert [int(number) for number in numbers] == list(range(1, second.bus.committed + 1))
        async with server("another") as third:
            await call(third, "c-4")
            kinds = await page.run("got.map((event) => event.type)")
            lost = await page.run("got.find((event) => event.type === 'gap').data.after")
            assert await page.run(ENDED) == "c-1,c-2,c-3,c-4"
            assert (kinds.count("gap"), lost) == (1, second.bus.journal.cursor(second.bus.committed))
