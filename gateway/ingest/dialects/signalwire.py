"""SignalWire's <Stream>: Twilio's messages, with linear PCM as well.  [S]

Source: SignalWire, "cXML Stream". ``connected`` says version 0.2.0, ``start`` has no streamSid at top level and
``stop`` has nothing but its name; all of that Twilio's reader takes already.
"""

from __future__ import annotations

from typing import ClassVar

from gateway.ingest.dialects.tracks import Formats
from gateway.ingest.dialects.twilio import Twilio


class SignalWire(Twilio):
    """One SignalWire stream: legs ``inbound`` and ``outbound``."""

    source = "signalwire"
    # Little-endian, as all of this family; SignalWire does not say.
    formats: ClassVar[Formats] = {
        "audio/x-mulaw": ("mulaw", (8000,)),
        "audio/x-l16": ("s16le", (8000, 16_000, 24_000)),
    }
