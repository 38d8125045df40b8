"""Whom a UUID stands for."""

from __future__ import annotations

from uuid import UUID

import pytest
from pydantic import ValidationError

from gateway.client.audiosocket import leg_uuid
from gateway.errors import Forbidden
from gateway.ingest.audiosocket.door import AudioSocketDoor

SECRET = "a secret of the house"
# printf '\xab\xcd\xef\x01\x23\x45\x80\x01' | openssl dgst -sha256 -hmac 'a secret of the house', first 8 bytes,
# the topmost two bits replaced by 10.
CALLEE = UUID("abcdef01-2345-8001-aab5-3f318dacbde7")


def door(**fields: object) -> AudioSocketDoor:
    return AudioSocketDoor.model_validate(fields)


def test_an_announced_uuid() -> None:
    uuid = "40325ec2-5efd-4bd3-805f-53576e581d13"
    speaker = door(uuids={uuid: {"call_id": "desk-7", "leg": "left", "role": "agent"}}).identify(UUID(uuid), {})
    assert (speaker.call_id, speaker.leg, speaker.role) == ("desk-7", "left", "agent")


def test_the_role_comes_from_the_settings_where_the_announcement_does_not_say() -> None:
    uuid = "40325ec2-5efd-4bd3-805f-53576e581d13"
    announced = door(uuids={uuid: {"call_id": "desk-7", "leg": "left"}})
    assert announced.identify(UUID(uuid), {"left": "agent"}).role == "agent"
    assert announced.identify(UUID(uuid), {}).role == "unknown"


def test_a_uuid_made_with_the_secret() -> None:
    speaker = door(secret=SECRET).identify(CALLEE, {})
    assert (speaker.call_id, speaker.leg, speaker.role) == ("abcdef012345", "callee", "callee")
    assert leg_uuid(SECRET, bytes.fromhex("abcdef012345"), 1) == CALLEE


def test_legs_are_named_by_their_index() -> None:
    desk = door(secret=SECRET, legs=["agent", "customer"])
    call = bytes(6)
    named = [desk.identify(leg_uuid(SECRET, call, leg), {}) for leg in (0, 1, 2, 4095)]
    assert [speaker.leg for speaker in named] == ["agent", "customer", "party.2", "party.4095"]
    assert [speaker.role for speaker in named] == ["agent", "customer", "unknown", "unknown"]


@pytest.mark.parametrize("bit", range(128))
def test_no_bit_of_it_may_be_changed(bit: int) -> None:
    forged = UUID(int=CALLEE.int ^ 1 << bit)
    with pytest.raises(Forbidden, match="uuid: expected one of"):
        door(secret=SECRET).identify(forged, {})


def test_nothing_is_announced_by_default() -> None:
    with pytest.raises(Forbidden):
        door().identify(CALLEE, {})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"secret": "short"}, "secret"),
        ({"uuids": {"nonsense": {"call_id": "a", "leg": "b"}}}, "uuids"),
        ({"uuids": {str(CALLEE): {"call_id": "a b", "leg": "b"}}}, "letters, digits"),
        ({"listen": "localhost"}, "ADDRESS:PORT"),
        ({"port": 1}, "Extra inputs"),
    ],
)
def test_bad_settings_are_named(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        door(**fields)
