"""Real softphones: baresip dials the gateway and speaks."""

from __future__ import annotations

import asyncio
import shutil
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.gateway.conftest import Serve
from tests.gateway.loudness import speech
from tests.gateway.wire import subscribed

pytestmark = [
    pytest.mark.usefixtures("detector"),
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("baresip") is None, reason="baresip is not installed (Debian: baresip-core)"),
]

CONFIG = """poll_method epoll
sip_listen 127.0.0.1:{port}
audio_source aufile,{wav}
audio_player aubridge,sink
audio_alert aubridge,alert
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
rtp_ports {rtp}-{rtp_end}
net_interface 127.0.0.1
module_path {modules}
module g711.so
module aufile.so
module aubridge.so
module_tmp uuid.so
module_tmp account.so
module_app menu.so
"""


def furnish(folder: Path, number: int, *, synthetic: bool) -> None:
    """Write the phone's configuration and what it will say."""
    folder.mkdir()
    wav = folder / "speech.wav"
    with wave.open(str(wav), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(np.round(speech(20, synthetic=synthetic)[::2] * 32767).astype("<i2").tobytes())
    (modules,) = Path("/usr/lib").glob("**/baresip/modules")
    rtp = 21_000 + 100 * number
    settings = {"port": 25_060 + 10 * number, "wav": wav, "rtp": rtp, "rtp_end": rtp + 98, "modules": modules}
    (folder / "config").write_text(CONFIG.format(**settings), encoding="utf-8")
    (folder / "accounts").write_text(
        "<sip:alice@127.0.0.1>;regint=0;audio_codecs=pcmu;auth_user=alice;auth_pass=secret\n", encoding="utf-8"
    )
    (folder / "contacts").touch()


@asynccontextmanager
async def softphone(folder: Path, number: int, uri: str, *, synthetic: bool) -> AsyncIterator[None]:
    """A phone that dials `uri` and speaks."""
    furnish(folder, number, synthetic=synthetic)
    process = await asyncio.create_subprocess_exec(
        *("baresip", "-4", "-f", str(folder), "-t", "30", "-e", f"/dial {uri}"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def test_two_softphones_make_one_call_and_the_alert_names_the_synthetic_one(serve: Serve, tmp_path: Path) -> None:
    server = await serve(sip={"udp": "127.0.0.1:0", "rtp_ports": (30_100, 30_199), "users": {"alice": "secret"}})
    host, port = server.sip["udp"]
    async with subscribed(server) as events:
        async with (
            softphone(tmp_path / "one", 1, f"sip:c1-caller@{host}:{port}", synthetic=True),
            softphone(tmp_path / "two", 2, f"sip:c1-callee@{host}:{port}", synthetic=False),
        ):
            raised = await events.until("alert.raised", stage="confirmed", within_s=25)
        # Told to stop, both hang up.
        ended = await events.until("call.ended")
    assert (raised["data"]["call_id"], raised["data"]["leg"]) == ("c1", "caller")
    assert ended["data"]["verdicts"]["caller"] == "synthetic"
    assert ended["data"]["verdicts"]["callee"] != "synthetic"
