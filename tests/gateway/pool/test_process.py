from __future__ import annotations

import httpx
import pytest

from detection import open_detector
from gateway.call.verification import METERS
from gateway.config_loading import load
from gateway.errors import ConfigError
from gateway.pool import process
from gateway.pool.worker import PoolVerifier
from tests.gateway.pool.pool import MODEL, settings
from tests.gateway.shared.nats_server import installed

TOKEN = {"authorization": "Bearer a-long-random-token"}


@installed
async def test_health_is_public_and_metrics_need_the_token(capsys: pytest.CaptureFixture[str]) -> None:
    verifier = PoolVerifier([open_detector(MODEL)], METERS, settings("nats://127.0.0.1:1"))
    served = load(environ={}, port=0, token="a-long-random-token")
    async with process._health(served, verifier):
        url = capsys.readouterr().out.split()[-1]
        async with httpx.AsyncClient(base_url=url, trust_env=False) as web:
            assert (await web.get("/healthz")).status_code == 200
            ready = await web.get("/readyz")
            assert (ready.status_code, ready.json()["reasons"]) == (503, ["nats cannot be used: no jobs are taken"])
            assert (await web.get("/metrics")).status_code == 401
            assert "callscreen_verifier_connected" in (await web.get("/metrics", headers=TOKEN)).text
            assert (await web.get("/v1/events", headers=TOKEN)).status_code == 404
        port = int(url.rpartition(":")[2])
        with pytest.raises(ConfigError, match="cannot listen on"):
            async with process._health(load(environ={}, port=port), verifier):
                raise AssertionError
    with pytest.raises(ConfigError, match="reachable by others"):
        load(environ={}, host="0.0.0.0")
