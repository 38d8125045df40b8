"""TOML whose keys would take minutes to read is refused; dots elsewhere do not matter."""

from __future__ import annotations

import pytest

from gateway.toml import MAX_KEY_PARTS, read_toml

DEEP = "a." * MAX_KEY_PARTS + "a"


@pytest.mark.parametrize("text", [f"{DEEP} = 1", f"x = 1\n[{DEEP}]", f"x = {{ {DEEP} = 1 }}", f"'a.b'.{DEEP} = 1"])
def test_keys_of_too_many_parts_are_refused_by_their_line(text: str) -> None:
    line = len(text.splitlines())
    with pytest.raises(ValueError, match=rf"at most {MAX_KEY_PARTS} parts \(at line {line}\)"):
        read_toml(text)


def test_dots_in_strings_and_comments_are_no_keys() -> None:
    many = ", ".join(f'"10.0.{number}.0/24"' for number in range(100))
    assert len(read_toml(f"allow = [{many}]  # {'.' * 200}")["allow"]) == 100
    assert read_toml("a." * (MAX_KEY_PARTS - 1) + "a = 1")
