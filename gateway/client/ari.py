"""Makes an Asterisk send each speaker of its calls to a gateway, through its REST interface (ARI).  [IO]

The speakers of a mixed stream cannot be separated. So for each channel in a bridge Asterisk is asked for a snoop
channel that carries that party alone (``spy=in``), an external-media channel to the gateway, and a bridge that connects
the two. The call itself is not changed. Asterisk does not remove these objects by itself, so `Tap` does: when the
channel ends, at its own end, and at its start for those of an interrupted run.

Source: Asterisk, ``rest-api/api-docs/{channels,bridges,events}.json``. The channels of a call share Asterisk's
linkedid: the id of the channel that started the call, which is therefore the caller's.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, urlencode, urlsplit

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.client import process_exception
from websockets.exceptions import ConnectionClosed

from gateway.client.audiosocket import leg_uuid

CALLER, CALLEE = 0, 1


class AriError(Exception):
    """Asterisk cannot be reached, or refused a request."""


class Target(Protocol):
    """How Asterisk reaches the gateway."""

    def call_id(self, linkedid: str) -> str:
        """Return the call's id in the gateway's events."""
        ...

    def external_media(self, linkedid: str, leg: int) -> dict[str, str]:
        """Return the parameters of ``POST /channels/externalMedia`` for a leg."""
        ...


@dataclass(frozen=True, slots=True)
class ToAudioSocket:
    """The gateway's AudioSocket port; for any Asterisk since 18."""

    host_port: str
    secret: str
    """The gateway's `audiosocket.secret`."""
    codec: str = "slin"
    """``slin16`` keeps a channel's wideband audio; it needs an Asterisk release of November 2025 or later, or
    `slin_rate_hz = 16000` in the gateway."""

    def call_id(self, linkedid: str) -> str:
        """Return a hash of 6 bytes, which is what the UUID has room for."""
        return _six_bytes(linkedid).hex()

    def external_media(self, linkedid: str, leg: int) -> dict[str, str]:
        """See `Target`."""
        uuid = leg_uuid(self.secret, _six_bytes(linkedid), leg)
        return {
            "external_host": self.host_port,
            "encapsulation": "audiosocket",
            "transport": "tcp",
            "format": self.codec,
            "data": str(uuid),
        }


@dataclass(frozen=True, slots=True)
class ToWebsocket:
    """The gateway's websocket endpoint for chan_websocket; for Asterisk since 20.16, 21.11, 22.6, 23.0."""

    section: str
    """Section in Asterisk's ``websocket_client.conf`` with the gateway's URL and token."""
    codec: str = "slin16"

    def call_id(self, linkedid: str) -> str:
        """Return the linkedid, which the URL has room for."""
        return linkedid

    def external_media(self, linkedid: str, leg: int) -> dict[str, str]:
        """See `Target`."""
        name = {CALLER: "caller", CALLEE: "callee"}.get(leg, f"party.{leg}")
        return {
            "external_host": self.section,
            "encapsulation": "none",
            "transport": "websocket",
            "format": self.codec,
            "transport_data": f"v(call_id={linkedid},leg={name})",
        }


@dataclass(frozen=True, slots=True)
class TappedLeg:
    """A channel whose audio is sent to the gateway."""

    channel: str
    name: str
    """Asterisk's name of the channel, e.g. ``PJSIP/alice-00000001``."""
    linkedid: str
    leg: int


class Tap:
    """Follows the bridges of an Asterisk, and taps the channels in them.

    Args:
        url: Asterisk's HTTP server, e.g. ``http://127.0.0.1:8088``.
        username: user in ``ari.conf``.
        password: of that user.
        target: where the audio goes.
        app: name of the Stasis application, and prefix of the ids of all objects made here.
        on_tapped: called with each leg.
        on_fault: called with the reason if a leg cannot be tapped.
    """

    def __init__(
        self,
        url: str,
        username: str,
        password: str,
        target: Target,
        app: str = "callscreen",
        on_tapped: Callable[[TappedLeg], None] = lambda _leg: None,
        on_fault: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._url = url.rstrip("/")
        self._auth = (username, password)
        self._target = target
        self._app = app
        self._on_tapped, self._on_fault = on_tapped, on_fault
        self._legs: dict[str, TappedLeg] = {}
        self._http = httpx.AsyncClient(auth=self._auth, timeout=5, trust_env=False)

    async def run(self) -> None:
        """Tap until cancelled, reconnecting when necessary; then remove all objects made here.

        Raises:
            AriError: Asterisk refuses the user, or has no ARI.
        """
        parts = urlsplit(self._url)
        query = urlencode({"app": self._app, "subscribeAll": "true"})
        address = f"{'wss' if parts.scheme == 'https' else 'ws'}://{parts.netloc}{parts.path}/ari/events?{query}"
        headers = {"Authorization": "Basic " + base64.b64encode(":".join(self._auth).encode()).decode()}
        try:
            async for events in connect(
                address, additional_headers=headers, proxy=None, process_exception=self._retryable
            ):
                try:
                    await self._follow(events)
                except ConnectionClosed:
                    self._on_fault("connection to Asterisk lost")
        finally:
            await self._http.aclose()

    def _retryable(self, error: Exception) -> Exception | None:
        """Return the error if the connection should not be retried, else None."""
        verdict = process_exception(error)
        if verdict is None:
            self._on_fault(f"{self._url}: {error}")
        return verdict

    async def _follow(self, events: ClientConnection) -> None:
        try:
            await self._remove_all()
            for bridge in await self._request("GET", "bridges"):
                await self._bridge_changed(bridge)
            async for message in events:
                await self._handle(json.loads(message))
        finally:
            await self._remove_all()

    async def _handle(self, event: dict[str, Any]) -> None:
        channel = event.get("channel", {}).get("id", "")
        match event.get("type"):
            case "ChannelEnteredBridge":
                await self._bridge_changed(event["bridge"])
            case "StasisStart" if self._is_ours(channel):  # a channel can join a bridge only after this event
                tapped = channel.removeprefix(f"{self._app}.").partition(".")[2]
                await self._try(tapped, "POST", f"bridges/{self._id('bridge', tapped)}/addChannel", channel=channel)
            case "ChannelDestroyed" if channel in self._legs:
                await self._release(channel)

    async def _bridge_changed(self, bridge: dict[str, Any]) -> None:
        """Tap the new channels of a bridge that has at least two."""
        channels = [channel for channel in bridge["channels"] if not self._is_ours(channel)]
        if self._is_ours(bridge["id"]) or len(channels) < 2:
            return
        for channel in channels:
            if channel not in self._legs:
                await self._tap(channel)

    async def _tap(self, channel: str) -> None:
        try:
            facts = await self._request("GET", f"channels/{quote(channel)}")
            answer = await self._request("GET", f"channels/{quote(channel)}/variable", variable="CHANNEL(linkedid)")
        except AriError as error:
            self._on_fault(str(error))
            return
        linkedid = answer["value"]
        taken = {leg.leg for leg in self._legs.values() if leg.linkedid == linkedid}
        number = CALLER if channel == linkedid else min(set(range(CALLEE, len(taken) + 2)) - taken)
        leg = self._legs[channel] = TappedLeg(channel, facts["name"], linkedid, number)
        media = self._target.external_media(linkedid, number) | {"channelId": self._id("media", channel)}
        snoop = f"channels/{quote(channel)}/snoop/{self._id('snoop', channel)}"
        if (
            await self._try(channel, "POST", f"bridges/{self._id('bridge', channel)}", type="mixing")
            and await self._try(channel, "POST", snoop, app=self._app, spy="in")
            and await self._try(channel, "POST", "channels/externalMedia", app=self._app, **media)
        ):
            self._on_tapped(leg)

    async def _release(self, channel: str) -> None:
        """Remove the objects made for a tapped channel."""
        del self._legs[channel]
        for path in (f"channels/{self._id(kind, channel)}" for kind in ("snoop", "media")):
            await self._remove(path)
        await self._remove(f"bridges/{self._id('bridge', channel)}")

    async def _remove_all(self) -> None:
        """Remove all objects with our prefix, including those of an interrupted run."""
        self._legs.clear()
        try:
            for kind in ("channels", "bridges"):
                for one in await self._request("GET", kind):
                    if self._is_ours(one["id"]):
                        await self._remove(f"{kind}/{quote(one['id'])}")
        except AriError as error:
            self._on_fault(str(error))

    async def _try(self, tapped: str, method: str, path: str, /, **query: str) -> bool:
        """Make a request for a tap; if it fails, release the channel and return False."""
        try:
            await self._request(method, path, **query)
        except AriError as error:
            self._on_fault(str(error))
            if tapped in self._legs:
                await self._release(tapped)
            return False
        return True

    async def _remove(self, path: str) -> None:
        with contextlib.suppress(AriError):  # it no longer exists
            await self._request("DELETE", path)

    async def _request(self, method: str, path: str, /, **query: str) -> Any:
        """Make one request. Raises AriError."""
        try:
            answer = await self._http.request(method, f"{self._url}/ari/{path}", params=query)
        except httpx.HTTPError as error:
            raise AriError(f"{method} {path}: {error or type(error).__name__}") from None
        if answer.is_error:
            raise AriError(f"{method} {path}: {answer.status_code} {answer.text:.200}")
        return answer.json() if answer.content else None

    def _is_ours(self, name: str) -> bool:
        return name.startswith(f"{self._app}.")

    def _id(self, kind: str, channel: str) -> str:
        return quote(f"{self._app}.{kind}.{channel}")


def _six_bytes(linkedid: str) -> bytes:
    return hashlib.sha256(linkedid.encode()).digest()[:6]
