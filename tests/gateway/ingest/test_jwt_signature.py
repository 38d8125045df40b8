"""Who signs with Vonage's signature secret comes in, and nobody else."""

from __future__ import annotations

import base64
import json
import warnings
from typing import Any

import jwt
import pytest
from websockets.asyncio.client import connect

from gateway import clock
from gateway.errors import ConfigError, Unauthorized
from gateway.ingest.dialects.base import Handshake
from gateway.ingest.doors import Door
from gateway.ingest.jwt_signature import check
from gateway.ingest.kinds import kind_of
from tests.gateway.conftest import Serve
from tests.gateway.goldens import VONAGE
from tests.gateway.wire import refused, subscribed, ws_url

SECRET = "Vonage's secret"  # shorter than RFC 7518 would have it, as theirs are
NOW_S = 1_790_000_000.0
CLAIMS: dict[str, Any] = {"iat": int(NOW_S) - 2, "exp": int(NOW_S) + 298, "iss": "Vonage", "jti": "1", "api_key": "k"}


def bearer(claims: dict[str, Any], secret: str = SECRET, algorithm: str = "HS256") -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
        return "Bearer " + jwt.encode(claims, secret, algorithm=algorithm)


def unsigned(claims: dict[str, Any]) -> str:
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    return "Bearer " + "".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") + "." for part in parts
    )


def shake(authorization: str) -> Handshake:
    headers = {"authorization": authorization} if authorization else {}
    return Handshake("wss://gw.example.com/v1/media/vonage", {}, headers, "203.0.113.9", NOW_S)


def test_a_fresh_signature_is_let_in() -> None:
    check(shake(bearer(CLAIMS)), SECRET)
    check(shake(bearer({"iat": int(NOW_S) + 59})), SECRET)


@pytest.mark.parametrize(
    ("authorization", "says"),
    [
        ("", "expected `Bearer`"),
        ("Basic dTpw", "expected `Bearer`"),
        ("Bearer nonsense", "expected a token signed with our secret"),
        (bearer(CLAIMS, "another secret"), "Signature verification failed"),
        (bearer(CLAIMS, algorithm="HS512"), "alg"),
        (unsigned(CLAIMS), "alg"),
        (bearer({"iss": "Vonage"}), 'missing the "iat" claim'),
        (bearer({"iat": "yesterday"}), "expected times in seconds"),
        (bearer({"iat": int(NOW_S) - 301}), "too old"),
        (bearer({"iat": int(NOW_S) + 61}), "too old"),
        (bearer(CLAIMS | {"exp": int(NOW_S) - 61}), "too old"),
        (bearer(CLAIMS | {"exp": [1]}), "expected times in seconds"),
    ],
)
def test_anything_else_is_not(authorization: str, says: str) -> None:
    with pytest.raises(Unauthorized) as fault:
        check(shake(authorization), SECRET)
    assert says in str(fault.value)
    assert SECRET not in str(fault.value)


def test_a_token_beside_the_signature_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"doors\.vonage\.token: vonage signs as bearer"):
        kind_of("vonage", Door.model_validate({"signing_key": SECRET, "token": "t"}))


@pytest.mark.usefixtures("detector")
async def test_a_signed_upgrade_becomes_a_call(serve: Serve) -> None:
    server = await serve(doors={"vonage": {"signing_key": SECRET, "allow_mixed": True}})
    url = ws_url(server, "/v1/media/vonage")
    status, problem = await refused(url)
    assert (status, problem["detail"]) == (401, "Authorization: expected `Bearer` and a signed token, got none")
    signed = {"Authorization": bearer({"iat": int(clock.utc_now().timestamp())})}
    async with subscribed(server) as events, connect(url, additional_headers=signed) as socket:
        await socket.send(VONAGE)
        assert (await events.until("leg.started"))["data"]["separation"] == "mixed"
