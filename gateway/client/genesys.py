"""AudioHook client: sends a conversation to a gateway as Genesys Cloud does.  [IO]"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Self
from urllib.parse import urlsplit

from gateway.client.codecs import Packetizer, Samples
from gateway.client.media import MediaSocket, websocket_url

GENESYS_PATH = "/v1/media/genesys"
PACKET_S = 0.02


def signature_headers(url: str, headers: Mapping[str, str], secret: str, created: int, nonce: str) -> dict[str, str]:
    """Return ``Signature-Input`` and ``Signature`` for an upgrade to `url` with AudioHook's `headers`.

    Args:
        url: the websocket's URL with its query.
        headers: the four signed headers, in this order: organization, session, correlation, API key.
        secret: the client secret, in base64.
        created: Unix time, in seconds.
        nonce: unique per request, at least 22 characters.
    """
    parts = urlsplit(url)
    signed = {"@request-target": parts.path + (f"?{parts.query}" if parts.query else ""), "@authority": parts.netloc}
    signed |= {name.lower(): value for name, value in headers.items()}
    names = " ".join(f'"{name}"' for name in signed)
    params = (
        f'({names});keyid="{headers["X-API-KEY"]}";nonce="{nonce}";alg="hmac-sha256"'
        f";created={created};expires={created + 10}"
    )
    base = "\n".join(f'"{name}": {value}' for name, value in (signed | {"@signature-params": params}).items())
    digest = hmac.new(base64.b64decode(secret), base.encode(), hashlib.sha256).digest()
    return {"Signature-Input": f"sig1={params}", "Signature": f"sig1=:{base64.b64encode(digest).decode()}:"}


class AudioHookCall(MediaSocket):
    """Customer and agent of one conversation on one websocket, in PCMU.

    Args:
        url: base address of the gateway, or the whole address of its endpoint.
        conversation_id: UUID of the conversation.
        api_key: sent as ``X-API-KEY``.
        secret: client secret in base64, which signs the upgrade; None: unsigned.
        channels: the speakers offered, in the order of the channels.
        custom_config: the integration's own parameters.
    """

    def __init__(
        self,
        url: str,
        conversation_id: str,
        api_key: str = "key",
        secret: str | None = None,
        channels: Sequence[str] = ("external", "internal"),
        custom_config: Mapping[str, Any] | None = None,
    ) -> None:
        address = websocket_url(url, GENESYS_PATH)
        self.session_id = str(uuid.uuid4())
        self.organization_id = str(uuid.uuid4())
        headers = {
            "Audiohook-Organization-Id": self.organization_id,
            "Audiohook-Session-Id": self.session_id,
            "Audiohook-Correlation-Id": str(uuid.uuid4()),
            "X-API-KEY": api_key,
        }
        if secret is not None:
            headers |= signature_headers(address, headers, secret, int(time.time()), secrets.token_urlsafe(24))
        super().__init__(address, headers)
        self._conversation_id = conversation_id
        self._channels = list(channels)
        self._custom_config = dict(custom_config or {})
        self._packetizer = Packetizer("mulaw", 8_000, len(channels))
        self.position_s = 0.0
        """Position in the audio in seconds, including discarded audio."""
        self.seq = 0
        self.serverseq = 0

    async def __aenter__(self) -> Self:
        """Connect and open the session."""
        await super().__aenter__()
        media = {"type": "audio", "format": "PCMU", "channels": self._channels, "rate": 8000}
        participant = {"id": str(uuid.uuid4()), "ani": "", "aniName": "", "dnis": ""}
        await self.send_message(
            "open",
            organizationId=self.organization_id,
            conversationId=self._conversation_id,
            participant=participant,
            media=[media],
            customConfig=self._custom_config,
        )
        await self.receive_message("opened")
        return self

    async def send_message(self, kind: str, **parameters: Any) -> None:
        """Send one message."""
        self.seq += 1
        message = {
            "version": "2",
            "id": self.session_id,
            "type": kind,
            "seq": self.seq,
            "serverseq": self.serverseq,
            "position": f"PT{self.position_s:.3f}S",
            "parameters": parameters,
        }
        await self.transmit(json.dumps(message))

    async def receive_message(self, kind: str) -> dict[str, Any]:
        """Return the next message, which must be of type `kind`. Raises ValueError, websockets' ConnectionClosed."""
        if self._socket is None:
            raise RuntimeError("not connected: use `async with`")
        message: dict[str, Any] = json.loads(await self._socket.recv())
        self.serverseq = message["seq"]
        if message["type"] != kind:
            raise ValueError(f"expected {kind}, got {message['type']}: {message['parameters']}")
        return message

    async def send(self, samples: Samples) -> None:
        """Send the next samples: float32 at 16 kHz, shape ``(n,)``, or ``(n, 2)`` for two channels."""
        for packet in self._packetizer.push(samples):
            await self.transmit(packet)
            self.position_s += PACKET_S

    async def discard(self, seconds: float) -> None:
        """Advance the position without sending audio, as during a secure pause."""
        start, self.position_s = self.position_s, self.position_s + seconds
        await self.send_message("discarded", start=f"PT{start:.3f}S", discarded=f"PT{seconds:.3f}S")

    async def stop(self) -> None:
        """Send the rest, and close the session."""
        for packet in self._packetizer.flush():
            await self.transmit(packet)
        await self.send_message("close", reason="end")
        await self.receive_message("closed")
