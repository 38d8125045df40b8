"""Splits the bytes of a websocket into frames, and unmasks data frames.  [S]

websockets' `ServerProtocol` implements all of RFC 6455, but takes ten times as long as necessary for the usual frame:
complete, masked, not fragmented, without extensions. Everything else, errors included, is passed on to it unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from websockets import frames

_apply_mask = frames.apply_mask  # type: ignore[attr-defined]  # in C where that could be built
_FIN, _OPCODE = 0x80, 0x0F
_CONTINUATION, _TEXT, _BINARY = 0x0, 0x1, 0x2
_MASKED, _LENGTH = 0x80, 0x7F


class Kind(Enum):
    """Kind of a piece of the stream; `OTHER` is for `ServerProtocol`."""

    TEXT = _FIN | _TEXT
    BINARY = _FIN | _BINARY
    OTHER = 0


_WHOLE = {kind.value: kind for kind in (Kind.TEXT, Kind.BINARY)}


class FrameSplitter:
    """Splits the stream of one connection on the server's side, from the end of the handshake on."""

    def __init__(self, max_bytes: int) -> None:
        """Buffer no frame larger than `max_bytes`; its head is passed on, so that `ServerProtocol` refuses it."""
        self._max_bytes = max_bytes
        self._rest = bytearray()
        self._in_fragments = False
        self._broken = False

    def split(self, data: bytes) -> Iterator[tuple[Kind, bytes]]:
        """Yield the payload of complete text and binary frames, and everything else unchanged, in order."""
        if self._rest:
            self._rest += data
            buffer: bytes | bytearray = self._rest
        else:
            buffer = data
        at, end = 0, len(buffer)
        while not self._broken and end - at >= 2:
            length = buffer[at + 1] & _LENGTH
            head = 6 if length < 126 else 8 if length == 126 else 14
            if end - at >= head and length >= 126:
                length = int.from_bytes(buffer[at + 2 : at + head - 4])
            if not buffer[at + 1] & _MASKED or (end - at >= head and length > self._max_bytes):
                self._broken = True
                break
            stop = at + head + length
            if stop > end:
                break
            first = buffer[at]
            kind = None if self._in_fragments else _WHOLE.get(first)
            if kind is not None:
                yield kind, _apply_mask(buffer[at + head : stop], buffer[at + head - 4 : at + head])
            else:
                if first & _OPCODE <= _BINARY:
                    self._in_fragments = not first & _FIN
                yield Kind.OTHER, bytes(buffer[at:stop])
            at = stop
        if self._broken:
            yield Kind.OTHER, bytes(buffer[at:])
            at = end
        if buffer is self._rest:
            del self._rest[:at]
        elif at < end:
            self._rest += buffer[at:]
