"""Let Asterisk send us each voice of its calls, by its REST interface (ARI).  [IO]

A mixed recording of a call cannot be told apart again. So for each channel of a bridge Asterisk is asked for a snoop
channel that hears that party alone (``spy=in``), an external-media channel that leads to the gateway, and a bridge of
these two. The call itself is not touched. None of the three vanishes by itself, so `Tap` removes them: with the
channel, at the end, and at the start what a run that was cut off left behind.

Source: Asterisk, ``rest-api/api-docs/{channels,bridges,events}.json``. Join key of a call's channels is Asterisk's own
linkedid: the id of the channel that the call began with, which thereby is the caller.
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
    """Asterisk cannot be reached, or said no."""


class Target(Protocol):
    """How Asterisk reaches the gateway."""

    def call_id(self, linkedid: str) -> str:
        """Return the call's id as the gateway will tell it."""
        ...

    def external_media(self, linkedid: str, leg: int) -> dict[str, str]:
        """Return the parameters of ``POST /channels/externalMedia`` that lead this leg there."""
        ...


@dataclass(frozen=True, slots=True)
class ToAudioSocket:
    """The gateway's AudioSocket door, any Asterisk since 18."""

    host_port: str
    secret: str
    """The gateway's `audiosocket.secret`."""
    codec: str = "slin"
    """``slin16`` keeps the wideband of a channel; it needs the releases of November 2025, or `slin_rate_hz = 16000`."""

    def call_id(self, linkedid: str) -> str:
        """The UUID has room for six bytes."""
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
    """The gateway's door for chan_websocket, Asterisk since 20.16, 21.11, 22.6, 23.0."""

    section: str
    """Of Asterisk's ``websocket_client.conf``; it holds the gateway's URL and token."""
    codec: str = "slin16"

    def call_id(self, linkedid: str) -> str:
        """The URL has room for all of it."""
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
    """A channel whose voice goes to the gateway."""

    channel: str
    name: str
    """As Asterisk shows it, e.g. ``PJSIP/alice-00000001``."""
    linkedid: str
    leg: int


class Tap:
    """Follows an Asterisk's bridges and taps the channels in them.

    Args:
        url: of Asterisk's HTTP server, e.g. ``http://127.0.0.1:8088``.
        username: of a user in ``ari.conf``.
        password: of that user.
        target: where the voices go.
        app: name of our Stasis application; the ids of all that we make begin with it.
        on_tapped: told of each leg.
        on_fault: told of each leg that could not be tapped, and why.
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
        """Tap until cancelled, over lost connections too; then take everything away again.

        Raises:
            AriError: Asterisk does not know the user, or there is no ARI.
        """
        parts = urlsplit(self._url)
        query = urlencode({"app": self._app, "subscribeAll": "true"})
        address = f"{'wss' if parts.scheme == 'https' else 'ws'}://{parts.netloc}{parts.path}/ari/events?{query}"
        headers = {"Authorization": "Basic " + base64.b64encode(":".join(self._auth).encode()).decode()}
        try:
            async for events in connect(
                address, additional_headers=headers, proxy=None, process_exception=self._may_pass
            ):
                try:
                    await self._follow(events)
                except ConnectionClosed:
                    self._on_fault("connection to Asterisk lost")
        finally:
            await self._http.aclose()

    def _may_pass(self, error: Exception) -> Exception | None:
        """Tell why there is no connection; None if it is worth another try."""
        verdict = process_exception(error)
        if verdict is None:
            self._on_fault(f"{self._url}: {error}")
        return verdict

    async def _follow(self, events: ClientConnection) -> None:
        try:
            await self._take_all_away()
            for bridge in await self._ask("GET", "bridges"):
                await self._bridge_changed(bridge)
            async for message in events:
                await self._happened(json.loads(message))
        finally:
            await self._take_all_away()

    async def _happened(self, event: dict[str, Any]) -> None:
        channel = event.get("channel", {}).get("id", "")
        match event.get("type"):
            case "ChannelEnteredBridge":
                await self._bridge_changed(event["bridge"])
            case "StasisStart" if self._is_ours(channel):  # only now may it be put into a bridge
                tapped = channel.removeprefix(f"{self._app}.").partition(".")[2]
                await self._try(tapped, "POST", f"bridges/{self._id('bridge', tapped)}/addChannel", channel=channel)
            case "ChannelDestroyed" if channel in self._legs:
                await self._release(channel)

    async def _bridge_changed(self, bridge: dict[str, Any]) -> None:
        """Tap who is new in a bridge where there is somebody to talk to."""
        channels = [channel for channel in bridge["channels"] if not self._is_ours(channel)]
        if self._is_ours(bridge["id"]) or len(channels) < 2:
            return
        for channel in channels:
            if channel not in self._legs:
                await self._tap(channel)

    async def _tap(self, channel: str) -> None:
        try:
            facts = await self._ask("GET", f"channels/{quote(channel)}")
            answer = await self._ask("GET", f"channels/{quote(channel)}/variable", variable="CHANNEL(linkedid)")
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
        """Remove what a tapped channel needed."""
        del self._legs[channel]
        for path in (f"channels/{self._id(kind, channel)}" for kind in ("snoop", "media")):
            await self._remove(path)
        await self._remove(f"bridges/{self._id('bridge', channel)}")

    async def _take_all_away(self) -> None:
        """Remove whatever bears our name, also of a run that was cut off."""
        self._legs.clear()
        try:
            for kind in ("channels", "bridges"):
                for one in await self._ask("GET", kind):
                    if self._is_ours(one["id"]):
                        await self._remove(f"{kind}/{quote(one['id'])}")
        except AriError as error:
            self._on_fault(str(error))

    async def _try(self, tapped: str, method: str, path: str, /, **query: str) -> bool:
        """Ask for something that a tap needs; when it cannot be had, let go of the channel."""
        try:
            await self._ask(method, path, **query)
        except AriError as error:
            self._on_fault(str(error))
            if tapped in self._legs:
                await self._release(tapped)
            return False
        return True

    async def _remove(self, path: str) -> None:
        with contextlib.suppress(AriError):  # gone already: that was the aim
            await self._ask("DELETE", path)

    async def _ask(self, method: str, path: str, /, **query: str) -> Any:
        """Make one request. Raises AriError naming it."""
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
