"""A peer that speaks SIP to the gateway over real sockets, in the words of the RFCs; and the requests tests need."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

_numbers = itertools.count(1)

PCMU_SDP = """v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
c=IN IP4 127.0.0.1
t=0 0
m=audio 40000 RTP/AVP 0 101
a=rtpmap:0 PCMU/8000
a=rtpmap:101 telephone-event/8000
a=sendrecv
"""
TWO_STREAMS = """v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
c=IN IP4 127.0.0.1
t=0 0
m=audio 40000 RTP/AVP 0
a=label:1
a=sendonly
m=audio 40002 RTP/AVP 8 0
a=label:2
a=sendonly
"""
METADATA = """<?xml version="1.0"?>
<recording xmlns="urn:ietf:params:xml:ns:recording:1"><datamode>complete</datamode>
<session session_id="s"/>
<participant participant_id="p1"><nameID aor="sip:+4930123@carrier.example"/></participant>
<participant participant_id="p2"><nameID aor="sip:agent7@pbx.example"/></participant>
<stream stream_id="st1" session_id="s"><label>1</label></stream>
<stream stream_id="st2" session_id="s"><label>2</label></stream>
<participantstreamassoc participant_id="p2"><send>st1</send><recv>st2</recv></participantstreamassoc>
<participantstreamassoc participant_id="p1"><send>st2</send><recv>st1</recv></participantstreamassoc>
</recording>
"""
MULTIPART = f"""--b1
Content-Type: application/sdp

{TWO_STREAMS}
--b1
Content-Type: application/rs-metadata+xml
Content-Disposition: recording-session

{METADATA}
--b1--
"""
SIPREC: dict[str, Any] = {"Require": "siprec", "Content-Type": "multipart/mixed;boundary=b1"}


class Reply:
    """A message from the gateway."""

    def __init__(self, data: bytes) -> None:
        head, _, body = data.decode().partition("\r\n\r\n")
        self.first, *lines = head.split("\r\n")
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self.body = body

    @property
    def code(self) -> int:
        return int(self.first.split()[1]) if self.first.startswith("SIP/") else 0

    @property
    def tag(self) -> str:
        found = re.search(r"tag=([^;]+)", self.headers["to"])
        return found[1] if found else ""

    @property
    def ports(self) -> list[int]:
        return [int(port) for port in re.findall(r"m=audio (\d+)", self.body)]


class Phone:
    """One caller and its one call."""

    def __init__(self, transport: str) -> None:
        self.transport = transport
        self.call_id = f"call/{next(_numbers)}@127.0.0.1"
        self.cseq = 0
        self.to_tag = ""
        self.branch = ""
        self.inbox: asyncio.Queue[Reply] = asyncio.Queue()
        self.send: Callable[[bytes], None] = lambda data: None

    def request(
        self,
        method: str,
        body: str = "",
        *,
        user: str = "gateway",
        branch: str | None = None,
        cseq: int | None = None,
        drop: tuple[str, ...] = (),
        **headers: Any,
    ) -> bytes:
        if method not in ("ACK", "CANCEL") and branch is None:
            self.cseq += 1
        if branch is None and method != "CANCEL":
            self.branch = f"z9hG4bK{next(_numbers)}"
        data = body.replace("\n", "\r\n").encode()
        lines = {
            "Via": f"SIP/2.0/{self.transport} 127.0.0.1:5099;branch={branch or self.branch};rport",
            "Max-Forwards": "70",
            "From": '"Alice" <sip:alice@127.0.0.1>;tag=a1',
            "To": "<sip:gateway@127.0.0.1>" + (f";tag={self.to_tag}" if self.to_tag else ""),
            "Call-ID": self.call_id,
            "CSeq": f"{cseq or self.cseq} {method}",
            "Contact": "<sip:alice@127.0.0.1:5099>",
        }
        if body:
            lines["Content-Type"] = "application/sdp"
        lines |= {name.replace("_", "-"): value for name, value in headers.items()} | {"Content-Length": str(len(data))}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if name not in drop)
        return f"{method} sip:{user}@127.0.0.1 SIP/2.0\r\n{head}\r\n".encode() + data

    async def ask(self, method: str, body: str = "", *, within_s: float = 5, **options: Any) -> Reply:
        """Send a request; return the final answer."""
        self.send(self.request(method, body, **options))
        return await self.final(within_s)

    async def final(self, within_s: float = 5) -> Reply:
        while (reply := await self.hear(within_s)).code == 100:
            pass
        return reply

    async def hear(self, within_s: float = 5) -> Reply:
        async with asyncio.timeout(within_s):
            return await self.inbox.get()

    async def call(self, body: str = PCMU_SDP, **options: Any) -> Reply:
        """Invite and acknowledge; return the 200."""
        reply = await self.ask("INVITE", body, **options)
        assert reply.code == 200, reply.first
        self.to_tag = reply.tag
        self.send(self.request("ACK"))
        return reply


@asynccontextmanager
async def phone(address: tuple[str, int], transport: str = "UDP", **options: Any) -> AsyncIterator[Phone]:
    caller = Phone(transport)
    loop = asyncio.get_running_loop()
    if transport == "UDP":

        class Socket(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: object) -> None:
                caller.inbox.put_nowait(Reply(data))

        udp, _ = await loop.create_datagram_endpoint(Socket, remote_addr=address, **options)
        caller.send = udp.sendto
        yield caller
        udp.close()
        return
    reader, writer = await asyncio.open_connection(*address, **options)
    caller.send = writer.write

    async def read() -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(re.search(rb"Content-Length: (\d+)", head)[1])  # type: ignore[index]
            caller.inbox.put_nowait(Reply(head + await reader.readexactly(length)))

    reading = asyncio.create_task(read())
    yield caller
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    writer.close()
