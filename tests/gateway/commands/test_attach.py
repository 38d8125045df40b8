"""The softphone on this computer: two real softphones talk, and `callscreen attach` hears both sides of one of them."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from rich.console import Console

import gateway.app
from gateway.commands import attach
from gateway.commands.attach import Leg
from gateway.config_loading import load
from tests.conftest import REPOSITORY
from tests.gateway.conftest import Serve
from tests.gateway.loudness import speech
from tests.gateway.sound_server import needs_pulseaudio, process, run, sound_server, write_wav
from tests.gateway.wire import call_of, subscribed

BARESIP_CONFIG = """\
poll_method epoll
sip_listen 127.0.0.1:{port}
audio_source {source}
audio_player {player}
audio_alert aubridge,alert
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
rtp_ports {rtp}
net_interface 127.0.0.1
module_path {modules}
module g711.so
module aufile.so
module aubridge.so
module alsa.so
module_tmp uuid.so
module_tmp account.so
module_app menu.so
"""
BARESIP_MODULES = Path("/usr/lib/baresip/modules")
needs_softphones = pytest.mark.skipif(
    shutil.which("baresip") is None or not list(Path("/usr/lib").glob("*/alsa-lib/libasound_module_pcm_pulse.so")),
    reason="baresip is not installed (Debian: apt-get install baresip-core libasound2-plugins)",
)


@asynccontextmanager
async def attached(url: str, *options: str, **environ: str) -> AsyncIterator[Process]:
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "attach", "--url", url, *options),
        stdout=PIPE,
        stderr=PIPE,
        cwd=REPOSITORY,
        env=os.environ | environ,
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.communicate()


async def told(running: Process, words: str) -> str:
    """Read lines until one has those words."""
    assert running.stdout is not None
    async with asyncio.timeout(40):
        while words not in (line := (await running.stdout.readline()).decode()):
            assert line, f"ended before {words!r}"
    return line


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def softphone(folder: Path, name: str, port: int, source: str, player: str) -> list[str]:
    """Write what a baresip needs; return its arguments."""
    home = folder / name
    home.mkdir()
    rtp = free_port(socket.SOCK_DGRAM) & ~1
    (home / "config").write_text(
        BARESIP_CONFIG.format(port=port, source=source, player=player, rtp=f"{rtp}-{rtp + 20}", modules=BARESIP_MODULES)
    )
    (home / "accounts").write_text(f"<sip:{name}@127.0.0.1>;regint=0;audio_codecs=pcmu;answermode=auto\n")
    (home / "contacts").write_text("")
    return ["-4", "-f", str(home)]


def alsa_to_pulse(home: Path, **devices: str) -> None:
    """Give devices of the sound server names in ALSA, which is what Debian's baresip speaks."""
    lines = [f"pcm.{name} {{ type pulse device {device} }}\n" for name, device in devices.items()]
    (home / ".asoundrc").write_text("".join(lines))


@pytest.mark.slow
@needs_pulseaudio
@needs_softphones
async def test_both_sides_of_a_softphone_become_legs(serve: Serve, detector: object, tmp_path: Path) -> None:
    server = await serve()
    quiet = write_wav(tmp_path / "agent.wav", speech(120, synthetic=False))
    loud = write_wav(tmp_path / "customer.wav", speech(120, synthetic=True)[::2], 8000)
    options = ("--mic", "headset.monitor", "--speaker", "desk.monitor", "--legs", "agent,customer", "--call-id", "s-1")
    async with sound_server(tmp_path, "headset", "desk") as environ, subscribed(server) as events:
        alsa_to_pulse(Path(environ["HOME"]), headset="headset.monitor", desk="desk")
        port = free_port(socket.SOCK_DGRAM)
        mine = softphone(tmp_path, "agent", port, "alsa,headset", "alsa,desk")
        theirs = softphone(tmp_path, "customer", free_port(socket.SOCK_DGRAM), f"aufile,{loud}", "aubridge,nowhere")
        async with attached(server.url, *options, **environ) as running:
            await told(running, "agent: listening to headset.monitor")
            async with (
                process("baresip", *mine, **environ),
                process("paplay", "--device=headset", str(quiet), **environ),
                process("baresip", *theirs, "-e", f"/dial sip:agent@127.0.0.1:{port}", **environ),
            ):
                raised = await events.until("alert.raised", within_s=100)  # a busy machine breaks the sound up
                assert (raised["data"]["call_id"], raised["data"]["leg"]) == ("s-1", "customer")
                assert raised["data"]["role"] == "customer"
                assert "customer (customer)" in await told(running, "alert.raised")
                speech_s = {leg["leg"]: leg["speech_s"] for leg in call_of(server, "s-1").state()["legs"]}
                assert speech_s["agent"] > 1
        ended = await events.until("call.ended")
    assert ended["data"]["verdicts"]["agent"] != "synthetic"
    assert {event["data"]["leg"] for event in events.seen if event["type"] == "alert.raised"} == {"customer"}


@needs_pulseaudio
async def test_gateways_and_devices_may_come_and_go(detector: object, tmp_path: Path) -> None:
    port = free_port()
    settings = load(environ={}, port=port, journal=tmp_path / "journal.sqlite3")
    async with (
        sound_server(tmp_path, "other", "desk") as environ,
        attached(f"http://127.0.0.1:{port}", "--mic", "none", "--speaker", "desk.monitor", **environ) as running,
    ):
        assert "attach-" in await told(running, "call ")
        await told(running, "speaker: cannot connect")
        for _ in range(2):
            async with gateway.app.running(settings) as server:
                await told(running, "speaker: listening to desk.monitor")
                (call,) = server.registry.calls()
                assert [leg.description.leg for leg in call.legs.values()] == ["speaker"]
            await told(running, "speaker: shutdown; trying again")
        async with gateway.app.running(settings):
            await told(running, "speaker: listening to desk.monitor")
            assert await run("pactl", "unload-module", "module-null-sink", **environ) == 0
            await told(running, "speaker: desk.monitor: ")
            assert await run("pactl", "load-module", "module-null-sink", "sink_name=desk", **environ) == 0
            await told(running, "speaker: listening to desk.monitor")


@needs_pulseaudio
async def test_a_terminal_shows_meters(serve: Serve, detector: object, tmp_path: Path) -> None:
    server = await serve()
    async with (
        sound_server(tmp_path, "desk") as environ,
        attached(server.url, "--mic", "none", **environ, FORCE_COLOR="1") as running,
    ):
        await told(running, "-60 dB")


@needs_pulseaudio
async def test_what_cannot_work_ends_with_a_reason(serve: Serve, detector: object, tmp_path: Path) -> None:
    server = await serve(token="s3cret")
    cases = [
        (("--mic", "nowhere", "--token", "s3cret"), "nowhere: Stream error: No such entity (see --list-devices)"),
        (("--token", "wrong"), "token: missing or wrong"),
        (("--mic", "none", "--speaker", "none"), "--mic, --speaker: expected at least one device, got none for both"),
        (("--url", "ftp://127.0.0.1"), "url: expected http://HOST:PORT"),
    ]
    async with sound_server(tmp_path, "desk") as environ:
        for options, reason in cases:
            async with attached(server.url, *options, **environ) as running:
                async with asyncio.timeout(30):
                    _, err = await running.communicate()
                assert (running.returncode, err.decode().count("\n")) == (1, 1)
                assert err.decode().startswith(f"callscreen attach: {reason}")


@needs_pulseaudio
async def test_devices_are_listed(tmp_path: Path) -> None:
    async with (
        sound_server(tmp_path, "desk") as environ,
        attached("http://127.0.0.1:1", "--list-devices", **environ) as running,
    ):
        line = await told(running, "desk.monitor")
        assert "speaker" in line
        assert "Monitor of Null Output" in line


@pytest.mark.parametrize(
    ("peak", "lit", "shown"), [(0.0, 0, "-60 dB"), (0.001, 0, "-60 dB"), (0.0316, 12, "-30 dB"), (1.0, 24, "0 dB")]
)
def test_the_meter_shows_how_loud_it_is(peak: float, lit: int, shown: str) -> None:
    leg = Leg("mic", "microphone", "default")
    leg.peak = peak
    console = Console(file=io.StringIO(), width=100)
    console.print(attach._meters([leg]))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert (text.count("█"), shown in text, "connecting" in text) == (lit, True, True)
