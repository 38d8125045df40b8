"""What a whole gateway writes into its log, at its most talkative, of what it is told in confidence."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.gateway.process import gateway
from tests.gateway.wire import SILENCE, refused

TOKEN, WRONG, DOOR_TOKEN, AUTH_TOKEN = (f"{name}-s3cret-0123456789" for name in ("a", "b", "c", "d"))
JWT = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJzM2NyZXQifQ.c2lnbmF0dXJlczNjcmV0"
NUMBER = "+4930123456789"
SETTINGS = f"""
log_level = "debug"
token = "{TOKEN}"
twilio_auth_token = "{AUTH_TOKEN}"
[doors.exotel]
token = "{DOOR_TOKEN}"
[jwt]
jwks_file = "jwks.json"
issuer = "i"
audience = "a"
"""


@pytest.mark.slow
async def test_no_secret_and_no_number_is_logged(tmp_path: Path) -> None:
    async with gateway(tmp_path, SETTINGS) as server:
        for token in (WRONG, JWT, TOKEN[:-1]):
            for headers, query in (({"Authorization": f"Bearer {token}"}, ""), ({}, f"&token={token}")):
                url = f"{server.ws_url}/v1/events?type=score{query}"
                status, _ = await refused(url, additional_headers=headers)
                assert status in (401, 503)
        await refused(f"{server.ws_url}/v1/events", subprotocols=[f"bearer.{WRONG}"])
        await refused(f"{server.ws_url}/v1/media/exotel?sample-rate=8000", additional_headers={"Authorization": WRONG})
        await refused(f"{server.ws_url}/v1/media/twilio", additional_headers={"X-Twilio-Signature": WRONG})
        media = f"{server.ws_url}/v1/media/plain?call_id={NUMBER[1:]}&leg=caller&token={TOKEN}"
        async with connect(media) as caller:
            await caller.send(SILENCE)
        async with httpx.AsyncClient(base_url=server.url, headers={"Authorization": f"Bearer {TOKEN}"}) as web:
            assert (await web.get(f"/v1/calls/{NUMBER}0")).status_code == 404
            assert (await web.get(f"/v1/nothing/{NUMBER}?token={TOKEN}")).status_code == 404
    text = json.dumps(server.log)
    assert "call started" in text
    assert "refused" in text
    for secret in (TOKEN, TOKEN[:-1], WRONG, DOOR_TOKEN, AUTH_TOKEN, JWT, JWT.split(".")[2], NUMBER[1:]):
        assert secret not in text
    assert "[redacted]789" in text
