"""The pages are usable by keyboard and screen reader, as far as axe-core can tell, in a light and in a dark browser."""

from __future__ import annotations

from pathlib import Path

import axe_core_python
import pytest
from websockets.asyncio.client import connect

from tests.gateway.browser import Tab, browser, needs_chromium
from tests.gateway.conftest import Serve
from tests.gateway.loudness import speech
from tests.gateway.wire import ws_url

AXE = (Path(axe_core_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
FOUND = """axe.run().then((report) => report.violations.flatMap((rule) =>
    rule.nodes.map((node) => `${rule.id}: ${node.html} ${node.failureSummary}`)))"""


async def violations(page: Tab, scheme: str) -> list[str]:
    """Return what axe-core finds in a page as it is shown now."""
    await page.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    assert await page.run(f"matchMedia('(prefers-color-scheme: {scheme})').matches")
    found: list[str] = await page.run(FOUND)
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("detector")
@needs_chromium
async def test_the_pages_have_no_fault_that_axe_core_finds(serve: Serve, tmp_path: Path) -> None:
    server = await serve()
    media = ws_url(server, "/v1/media/plain?call_id=c-1&leg=customer&encoding=s16le&rate=16000")
    async with (
        browser(tmp_path) as chromium,
        chromium.tab(f"{server.url}/call") as call,
        chromium.tab(f"{server.url}/") as live,
    ):
        await live.until("empty", "Attach the first one")
        for page in (call, live):
            await page.run(AXE)
            for scheme in ("light", "dark"):
                assert await violations(page, scheme) == []
        async with connect(media) as customer:
            voice = (speech(20, synthetic=True) * 32767).astype("<i2").tobytes()
            for at in range(0, len(voice), 640):
                await customer.send(voice[at : at + 640])
            await live.until("calls", "synthetic, alert confirmed")
            for scheme in ("light", "dark"):
                assert await violations(live, scheme) == []
        await live.until("count", "0 live")
        await live.click("find")
        await live.until("history", "customer: synthetic")
        for scheme in ("light", "dark"):
            assert await violations(live, scheme) == []
        await call.run("document.body.append(document.createElement('img'))")
        assert any(found.startswith("image-alt: <img>") for found in await violations(call, "light"))  # it would tell
