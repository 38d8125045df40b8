"""Every error the gateway raises on purpose.

    CallscreenError
    ├── ConfigError                  the operator: a setting is unknown, missing or out of range
    ├── RequestError                 the peer: status before the upgrade or in plain HTTP
    │   ├── Unauthorized             401   close 4401
    │   ├── Forbidden                403   close 4403
    │   ├── NotFound                 404   close 4404
    │   ├── UpgradeRequired          426                a websocket's path was asked for in plain HTTP
    │   ├── UnsupportedMedia         415   close 4415   an encoding, rate or media type this door does not take
    │   ├── Unprocessable            422   close 4400   well-formed, but not something we can serve
    │   ├── DuplicateStream          409   close 4409   that leg of that call is already being listened to
    │   ├── TooManyRequests          429                one source address asks too often
    │   ├── Overloaded               503   close 1013   no room for another call, or draining
    │   └── ProtocolError            400   close 4400   what breaks the dialect's rules so that the stream cannot go on
    │       ├── MessageTooBig        413   close 1009
    │       ├── TooFast              429   close 4429   more media or messages than a live call has
    │       └── BadMessage           400   close 4400   one message is of no use; many in a row end the stream
    │           └── WrongFrameKind   400   close 1003   binary where text is expected, or the reverse
    ├── StreamTimeout                      close 4408   no start, or no media, in time
    └── SlowConsumer                       close 4430   a subscriber does not read its events fast enough

The close codes are those of RFC 6455 section 7.4 and its private range 4000-4999; `close_code` and `status` are the
only places where an error becomes a number on the wire.
"""

from __future__ import annotations

from typing import ClassVar


class CallscreenError(Exception):
    """Root of all errors raised on purpose; its text is fit to be shown to whoever is to blame."""

    status: ClassVar[int] = 500
    close_code: ClassVar[int] = 1011
    ended_by: ClassVar[str] = "protocol_error"
    """What ``leg.ended`` says when this ends a leg."""


class ConfigError(CallscreenError):
    """A setting is unknown, missing or out of range. The operator is to blame; the process does not start."""


class RequestError(CallscreenError):
    """The peer asked for something it may not have, or said it wrongly."""

    status = 400
    close_code = 4400


class Unauthorized(RequestError):
    """Credentials are missing or wrong."""

    status = 401
    close_code = 4401


class Forbidden(RequestError):
    """The credentials are good, or none are needed, but this may not be done."""

    status = 403
    close_code = 4403


class NotFound(RequestError):
    """There is no such call, leg or session."""

    status = 404
    close_code = 4404


class UpgradeRequired(RequestError):
    """A websocket's path was asked for in plain HTTP (RFC 9110, section 15.5.22)."""

    status = 426


class UnsupportedMedia(RequestError):
    """The encoding, rate, channel count or media type is not one this door takes."""

    status = 415
    close_code = 4415


class Unprocessable(RequestError):
    """Well-formed, but it cannot be served: an offer without audio, for one."""

    status = 422


class DuplicateStream(RequestError):
    """That leg of that call is already being listened to; the first stream goes on."""

    status = 409
    close_code = 4409


class Overloaded(RequestError):
    """No room for another call, or the gateway is draining. Try again later."""

    status = 503
    close_code = 1013


class TooManyRequests(RequestError):
    """One source address asks more often than it may."""

    status = 429
    close_code = 4429

    def __init__(self, text: str, retry_after_s: int) -> None:
        """`text` names what is limited; in `retry_after_s` (whole seconds) the next one is let in."""
        super().__init__(text)
        self.retry_after_s = retry_after_s


class ProtocolError(RequestError):
    """The rules of a dialect are broken so that the stream cannot go on. Ends that stream, and no other."""


class BadMessage(ProtocolError):
    """One message, or one payload, is of no use. The stream goes on without it, unless many come in a row."""

    def __init__(self, text: str, reason: str = "bad_field") -> None:
        """`text` names the field and what was expected; `reason` is a short stable word to count it by."""
        super().__init__(text)
        self.reason = reason


class MessageTooBig(ProtocolError):
    """A message is larger than this door takes."""

    status = 413
    close_code = 1009


class TooFast(ProtocolError):
    """More media, or more messages, than a live call has."""

    status = 429
    close_code = 4429
    ended_by = "too_fast"


class WrongFrameKind(BadMessage):
    """Binary where text is expected, or the reverse."""

    close_code = 1003

    def __init__(self, text: str) -> None:
        """`text` says what was expected and what came."""
        super().__init__(text, "wrong_frame_kind")


class StreamTimeout(CallscreenError):
    """A stream never started, or its media stopped coming."""

    status = 408
    close_code = 4408
    ended_by = "timeout"


class SlowConsumer(CallscreenError):
    """A subscriber does not read its events fast enough; it may resume from its cursor."""

    close_code = 4430
