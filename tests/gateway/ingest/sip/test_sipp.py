"""A recording client by sipp, over UDP and TCP; its media is sent from here, for sipp feeds the first m-line only."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from tests.gateway.conftest import Serve
from tests.gateway.loudness import speech
from tests.gateway.rtp import pcmu, send
from tests.gateway.wire import subscribed

pytestmark = [
    pytest.mark.usefixtures("detector"),
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("sipp") is None, reason="sipp is not installed (Debian: sip-tester)"),
]
SCENARIO = Path(__file__).with_name("siprec.xml")


@pytest.mark.parametrize(("transport", "mode"), [("udp", "u1"), ("tcp", "t1")])
async def test_a_recording_client_records(serve: Serve, tmp_path: Path, transport: str, mode: str) -> None:
    settings = {"participants": {"sip:agent@*": "agent"}, "rtp_ports": (30_200, 30_203)}
    server = await serve(sip={transport: "127.0.0.1:0", **settings})
    host, port = server.sip[transport]
    async with subscribed(server) as events:
        sipp = await asyncio.create_subprocess_exec(
            *("sipp", "-sf", str(SCENARIO), f"{host}:{port}", "-i", "127.0.0.1", "-t", mode, "-m", "1", "-nostdin"),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        await events.until("leg.started", leg="2")
        # The range holds two pairs, taken in order.
        await send(("127.0.0.1", 30_200), pcmu(speech(8, synthetic=False)))
        await send(("127.0.0.1", 30_202), pcmu(speech(8, synthetic=True)))
        raised = await events.until("alert.raised", stage="confirmed")
        output = (await sipp.communicate())[0].decode(errors="replace")
        ended = await events.until("call.ended")
    assert sipp.returncode == 0, output
    assert (raised["data"]["call_id"], raised["data"]["leg"], raised["data"]["role"]) == ("recorded", "2", "agent")
    assert ended["data"]["verdicts"] == {"1": "human", "2": "synthetic"}
