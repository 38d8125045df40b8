"""Messages as the vendors' own pages show them, for the gateway's readers and the clients' writers alike."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

PAYLOAD = b"\xff\x7f\x00\x80"
BASE64 = "/38AgA=="


@dataclass(frozen=True)
class Golden:
    """One vendor's stream."""

    opening: tuple[str, ...]
    media: str
    closing: tuple[str, ...]


SIGNALWIRE = Golden(
    opening=(
        '{"event":"connected","protocol":"Call","version":"0.2.0"}',
        (
            '{"event":"start","sequenceNumber":"1","start":{"streamSid":"f4e2","accountSid":"7d3c","callSid":"c-1",'
            '"tracks":["inbound","outbound"],"customParameters":{"role_inbound":"customer"},'
            '"mediaFormat":{"encoding":"audio/x-L16","sampleRate":16000,"channels":1}}}'
        ),
    ),
    media='{"event":"media","sequenceNumber":"4","media":{"track":"outbound","chunk":"2","timestamp":"20",'
    '"payload":"/38AgA=="}}',
    closing=('{"event":"stop","sequenceNumber":"5"}',),
)
TELNYX = Golden(
    opening=(
        '{"event":"connected","version":"1.0.0"}',
        (
            '{"event":"start","sequence_number":"1","start":{"user_id":"3E6F995F","call_control_id":"c-1",'
            '"call_session_id":"ff55a038","from":"+13122010094","to":"+13122123456","tags":[],"client_state":null,'
            '"custom_parameters":{"role_inbound":"customer"},'
            '"media_format":{"encoding":"PCMA","sample_rate":8000,"channels":1}},"stream_id":"32DE0DEA"}'
        ),
    ),
    media='{"event":"media","sequence_number":"4","media":{"track":"outbound","chunk":"2","timestamp":"20",'
    '"payload":"/38AgA=="},"stream_id":"32DE0DEA"}',
    closing=(
        (
            '{"event":"stop","sequence_number":"5","stop":{"user_id":"3E6F995F","call_control_id":"c-1"},'
            '"stream_id":"32DE0DEA"}'
        ),
    ),
)
PLIVO = Golden(
    opening=(
        (
            '{"sequenceNumber":1,"event":"start","start":{"callId":"c-1","streamId":"20170ada","accountId":"206154",'
            '"tracks":["inbound","outbound"],"mediaFormat":{"encoding":"audio/x-l16","sampleRate":16000}},'
            '"extra_headers":"role_inbound=customer;tenant=blue"}'
        ),
    ),
    media='{"sequenceNumber":3,"streamId":"20170ada","event":"media","media":{"track":"outbound",'
    '"timestamp":"1708407123020","chunk":2,"payload":"/38AgA=="},"extra_headers":"role_inbound=customer"}',
    closing=(),
)
EXOTEL = Golden(
    opening=(
        '{"event":"connected"}',
        (
            '{"event":"start","sequence_number":"1","stream_sid":"MZx","start":{"stream_sid":"MZx","call_sid":"c-1",'
            '"account_sid":"ACx","from":"+919876543210","to":"+918047491899",'
            '"custom_parameters":{"role_caller":"customer"},'
            '"media_format":{"encoding":"audio/x-raw","sample_rate":"8000","bit_rate":"16"}}}'
        ),
    ),
    media='{"event":"media","sequence_number":"3","stream_sid":"MZx","media":{"chunk":"2","timestamp":"20",'
    '"payload":"/38AgA=="}}',
    closing=(
        (
            '{"event":"stop","sequence_number":"4","stream_sid":"MZx",'
            '"stop":{"call_sid":"c-1","account_sid":"ACx","reason":"callended"}}'
        ),
    ),
)
BANDWIDTH = Golden(
    opening=(
        (
            '{"eventType":"start","metadata":{"accountId":"5555555","callId":"c-1","streamId":"s-1","streamName":"x",'
            '"tracks":[{"name":"inbound","mediaFormat":{"encoding":"audio/PCMU","sampleRate":8000}},'
            '{"name":"outbound","mediaFormat":{"encoding":"audio/PCMU","sampleRate":8000}}]},'
            '"streamParams":{"role_inbound":"customer"}}'
        ),
    ),
    media='{"eventType":"media","track":"outbound","payload":"/38AgA==","sequenceNumber":"1"}',
    closing=('{"eventType":"stop","metadata":{"callId":"c-1"}}',),
)
FREESWITCH = '{"call_id":"c-1","rate":"16k","mix":"stereo","role_inbound":"customer"}'
JAMBONZ = (
    '{"callSid":"c-1","from":"+15083728299","direction":"inbound","sampleRate":16000,"mixType":"stereo",'
    '"metadata":{"role_inbound":"customer"}}'
)
VONAGE = '{"event":"websocket:connected","content-type":"audio/l16;rate=16000","call_id":"c-1"}'


def same_shape(written: Any, golden: str | Any) -> bool:
    """Whether two messages have the same fields, of the same types; the golden one may have fewer optional ones."""
    if isinstance(golden, str) and golden.startswith("{"):
        golden = json.loads(golden)
    if isinstance(golden, dict):
        return isinstance(written, dict) and all(
            key in written and same_shape(written[key], value) for key, value in golden.items()
        )
    if isinstance(golden, list):
        return (
            isinstance(written, list)
            and bool(written) >= bool(golden)
            and (not golden or same_shape(written[0], golden[0]))
        )
    return type(written) is type(golden)
