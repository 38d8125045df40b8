"""The gateway's errors.

    CallscreenError
    ├── ConfigError                  a setting is unknown, missing or out of range
    ├── RequestError                 caused by the peer; HTTP status and websocket close code
    │   ├── Unauthorized             401   close 4401
    │   ├── Forbidden                403   close 4403
    │   ├── NotFound                 404   close 4404
    │   ├── UpgradeRequired          426                plain HTTP request to a websocket
    │   ├── UnsupportedMedia         415   close 4415   encoding, rate or media type not supported here
    │   ├── Unprocessable            422   close 4400   well-formed, but cannot be served
    │   ├── DuplicateStream          409   close 4409   the leg has a stream already
    │   ├── TooManyRequests          429                rate limit of one source address
    │   ├── Overloaded               503   close 1013   limit of calls reached, or draining
    │   └── ProtocolError            400   close 4400   violates the protocol; the stream ends
    │       ├── MessageTooBig        413   close 1009
    │       ├── TooFast              429   close 4429   more media or messages than a live call sends
    │       └── BadMessage           400   close 4400   one message is ignored; many in a row end the stream
    │           └── WrongFrameKind   400   close 1003   binary instead of text, or the reverse
    ├── StreamTimeout                      close 4408   no start or no media in time
    └── SlowConsumer                       close 4430   a subscriber reads too slowly

The close codes are those of RFC 6455 section 7.4 and its private range 4000-4999; `close_code` and `status` are the
only places where an error becomes a number on the wire.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

UNREADABLE_JSON = (msgspec.MsgspecError, UnicodeError, RecursionError)
"""What msgspec raises for a text that it cannot read: the last one where it nests a thousand levels deep."""


class CallscreenError(Exception):
    """Base of the gateway's errors. Its text can be shown to whoever caused it."""

    status: ClassVar[int] = 500
    close_code: ClassVar[int] = 1011
    ended_by: ClassVar[str] = "protocol_error"
    """`ended_by` of ``leg.ended`` when the error ends a leg."""


class ConfigError(CallscreenError):
    """A setting is unknown, missing or out of range; the process does not start."""


class RequestError(CallscreenError):
    """The peer's request is not allowed, or wrong."""

    status = 400
    close_code = 4400


class Unauthorized(RequestError):
    """Credentials are missing or wrong."""

    status = 401
    close_code = 4401


class Forbidden(RequestError):
    """The credentials are valid, or none are needed, but this is not allowed."""

    status = 403
    close_code = 4403


class NotFound(RequestError):
    """There is no such call, leg, session or endpoint."""

    status = 404
    close_code = 4404


class UpgradeRequired(RequestError):
    """A plain HTTP request to a websocket (RFC 9110, section 15.5.22)."""

    status = 426


class UnsupportedMedia(RequestError):
    """The endpoint does not support the encoding, rate, channel count or media type."""

    status = 415
    close_code = 4415


class Unprocessable(RequestError):
    """Well-formed, but it cannot be served, such as an offer without audio."""

    status = 422


class DuplicateStream(RequestError):
    """The leg has a stream already, which continues."""

    status = 409
    close_code = 4409


class Overloaded(RequestError):
    """The limit of calls is reached, or the gateway is draining. Try again later."""

    status = 503
    close_code = 1013


class TooManyRequests(RequestError):
    """A source address exceeds its rate limit."""

    status = 429
    close_code = 4429

    def __init__(self, text: str, retry_after_s: int) -> None:
        """`text` names the limit; `retry_after_s` is in whole seconds."""
        super().__init__(text)
        self.retry_after_s = retry_after_s


class ProtocolError(RequestError):
    """A violation of the protocol after which the stream cannot continue. Ends this stream only."""


class BadMessage(ProtocolError):
    """One message or payload is invalid. It is ignored, but many in a row end the stream."""

    def __init__(self, text: str, reason: str = "bad_field") -> None:
        """`text` names the field and what was expected; `reason` is a short stable word for the metric."""
        super().__init__(text)
        self.reason = reason


class MessageTooBig(ProtocolError):
    """A message exceeds the endpoint's limit."""

    status = 413
    close_code = 1009


class TooFast(ProtocolError):
    """More media or messages than a live call sends."""

    status = 429
    close_code = 4429
    ended_by = "too_fast"


class WrongFrameKind(BadMessage):
    """Binary instead of text, or the reverse."""

    close_code = 1003

    def __init__(self, text: str) -> None:
        """`text` says what was expected and what came."""
        super().__init__(text, "wrong_frame_kind")


class StreamTimeout(CallscreenError):
    """A stream did not start in time, or its media stopped."""

    status = 408
    close_code = 4408
    ended_by = "timeout"


class SlowConsumer(CallscreenError):
    """A subscriber reads too slowly; it can resume from its cursor."""

    close_code = 4430
