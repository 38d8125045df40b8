"""Inputs that are nearly right: valid messages with a few things wrong, the way broken or hostile peers send them.

An input is a tuple of parts, `str` for text and `bytes` for binary frames. What is mutated is the order of the parts
and, inside a part, what its format is made of: fields of JSON, lines and words of text, bytes of binary.

What is chosen on the way is a `Choice`, which hypothesis can make, who then also finds a smaller input, or plain
randomness, which is several times as fast.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Generic, Protocol, TypeVar

from hypothesis import strategies as st

Part = str | bytes
Input = tuple[Part, ...]
T = TypeVar("T")


@dataclass(frozen=True)
class Choice(Generic[T]):
    """One of many."""

    strategy: st.SearchStrategy[T]
    pick: Callable[[Random], T]


class Draw(Protocol):
    """Has something chosen."""

    def __call__(self, choice: Choice[T]) -> T:
        """Return one of what there is to choose from."""
        ...


def one_of(*options: T) -> Choice[T]:
    count = len(options)  # times a fraction: three times as fast as `randrange`, which is most of what inputs cost
    return Choice(st.sampled_from(options), lambda random: options[int(random.random() * count)])


def mostly(*options: T, rarely: T) -> Choice[T]:
    """One of `options`, and in one case of 30 what is large, and so takes a hundred times as long as most."""
    return one_of(*options * (29 // len(options)), rarely)


def either(*choices: Choice[Any]) -> Choice[Any]:
    strategy = st.one_of(*(choice.strategy for choice in choices))
    which = one_of(*choices)
    return Choice(strategy, lambda random: which.pick(random).pick(random))


def number(least: int, most: int) -> Choice[int]:
    count = most - least + 1
    return Choice(st.integers(least, most), lambda random: least + int(random.random() * count))


LARGEST_PART = 64 * 1024
"""Characters or bytes: what the gateway takes of one message unless it is set otherwise."""

_NUMBERS = (
    "0", "-0", "-1", "1", "0.5", "65535", "65536", "99999", "4294967296", "9007199254740993", "18446744073709551616",
    "-9223372036854775809", "1e5", "1e308", "1e999", "-1e999", "NaN", "Infinity", "0x10", "1_000", "٣", "²", "9" * 400,
    "9" * 5000,
)  # fmt: skip
_TEXTS = (
    "", " ", "\0", "\r\n", "\u2028", "é", "\ud800", "\U0001f600", "null", "true", "[", "{", "%00", "%", "../..",
    ":", ";", "=", ",", "*", "====", "/38AgA=", "/38AgA==\n", "A" * 300, "a" * 5000, "-" * 64, "[::1", "256.1.1.1",
    "localhost",
)  # fmt: skip
_BYTES = (b"", b"\0", b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\r\n", b"\r\n\r\n", b"\xef\xbb\xbf", b"\x80" * 40)
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 3, 1.5, 2**53, 2**63, 2**64, -(2**63), 1e300, "", "x", "9" * 30, "NaN", "1e999", "-1",
    "/38AgA", "*", "é", [], {}, [[]], [None], {"": None}, ["inbound"], {"a": {"a": {}}}, "\ud800",
)  # fmt: skip

_CHARACTERS = 'ab01 :;,=/-."\\\t\r\n\0\x7f\x85é€²\u202e\U0001f600'

small = number(0, 7)
numbers = one_of(*_NUMBERS)
texts: Choice[str] = either(
    one_of(*_TEXTS),
    Choice(st.text(max_size=8), lambda random: "".join(random.choices(_CHARACTERS, k=random.randrange(9)))),
)
blobs: Choice[bytes] = either(
    one_of(*_BYTES), Choice(st.binary(max_size=12), lambda random: random.randbytes(random.randrange(13)))
)
_any = one_of(*_VALUES)
# Copied, for a list in it may be mutated next.
_copied = Choice(_any.strategy.map(copy.deepcopy), lambda random: copy.deepcopy(_any.pick(random)))
values = either(_copied, numbers, texts)
_places = number(0, 1 << 16)
_depths = mostly(3, 40, 600, rarely=30_000)
_yes = one_of(False, True)
_fields = number(1, 3)
_copies, _similar, _repeats = mostly(2, 30, rarely=1000), mostly(5, 20, rarely=9000), mostly(2, 50, rarely=3000)
_sizes, _lengths = one_of(1, 2, 5, 20, 60), mostly(300, 2000, rarely=LARGEST_PART)
_separators = one_of("\r\n", "\n", "&", ";", ",", "<", " ")
_words_instead: Choice[str] = either(texts, numbers)
_bytes = number(0, 255)
_WORD, _NUMBER = re.compile(r"[^\W_]+"), re.compile(r"(?<![^\W_])\d[^\W_]*")


def sequences(corpus: Sequence[Input], mutate: Callable[[Draw, Part], Part], *, keep: int = 0) -> Choice[Input]:
    """Return one of `corpus` with parts lost, repeated or swapped, and some of them mutated.

    Args:
        keep: so many parts at the front stay where they are: they are no messages but what came before them.
    """

    whole, moves, mutations = one_of(*corpus), one_of(0, 0, 0, 1, 2), one_of(1, 1, 1, 2, 3)

    def build(draw: Draw) -> Input:
        chosen: Input = draw(whole)
        parts = list(chosen)
        for _ in range(draw(moves)):
            movable = len(parts) - keep
            if movable <= 0:
                break
            at, other = keep + draw(_places) % movable, keep + draw(_places) % movable
            match draw(small):
                case 0 | 1:
                    del parts[at]
                case 2 | 3:
                    parts.insert(at, parts[other])
                case 4 | 5:
                    parts[at], parts[other] = parts[other], parts[at]
                case 6:
                    parts.insert(at, draw(texts))
                case _:
                    parts.insert(at, draw(blobs))
        for _ in range(draw(mutations)):
            if parts:
                at = draw(_places) % len(parts)
                parts[at] = mutate(draw, parts[at])[:LARGEST_PART]
        return tuple(parts)

    @st.composite
    def built(draw: st.DrawFn) -> Input:
        return build(lambda choice: draw(choice.strategy))

    return Choice(built(), lambda random: build(lambda choice: choice.pick(random)))


def any_part(draw: Draw, part: Part) -> Part:
    """Mutate a part as what it is: JSON, other text, or binary."""
    if isinstance(part, bytes):
        return binary(draw, part)
    return json_text(draw, part) if part.startswith("{") else text(draw, part)


def json_text(draw: Draw, whole: str) -> str:
    """Change fields of a JSON object: missing, twice, of another type, nested without end; or its text."""
    try:
        root = json.loads(whole)
    except (ValueError, RecursionError):
        return text(draw, whole)
    if not isinstance(root, dict | list) or draw(small) == 0:
        return text(draw, whole)
    twice = ""
    for _ in range(draw(_fields)):
        places = _containers(root)
        container = places[draw(_places) % len(places)]
        keys = list(container) if isinstance(container, dict) else list(range(len(container)))
        if not keys:
            continue
        key = keys[draw(_places) % len(keys)]
        match draw(small):
            case 0 | 1:
                del container[key]
            case 2 | 3 | 4:
                container[key] = draw(values)
            case 5:
                twice = f"{json.dumps(str(key))}:{json.dumps(draw(values))},"
            case 6:
                container[key] = _respelled(draw, container[key])
            case _:
                return json.dumps(root).replace(json.dumps(container[key]), _raw(draw), 1)
    return json.dumps(root).replace("{", "{" + twice, 1)


def text(draw: Draw, whole: str) -> str:
    """Change lines, words, numbers and characters of a text."""
    match draw(small):
        case 0:
            return _cut(draw, whole, draw(texts))
        case 1 | 2:
            return _lines(draw, whole)
        case 3 | 4 | 5:
            return _words(draw, whole)
        case 6:
            return _grown(draw, whole)
        case _:
            return whole[: draw(_places) % (len(whole) + 1)]


def binary(draw: Draw, whole: bytes) -> bytes:
    """Change bytes: another one, a piece replaced, cut short, grown."""
    at = draw(_places) % (len(whole) + 1)
    match draw(small):
        case 0 | 1 | 2 if at < len(whole):
            return whole[:at] + bytes([draw(_bytes)]) + whole[at + 1 :]
        case 3:
            return whole[:at]
        case 4:
            return whole[at:]
        case 5:
            return whole[:at] + whole[at : at + 64] * (draw(_copies)) + whole[at:]
        case _:
            end = draw(_places) % (len(whole) + 1)
            return whole[: min(at, end)] + bytes(draw(blobs)) + whole[max(at, end) :]


def wire_text(draw: Draw, whole: Part) -> bytes:
    """Mutate a text that is sent as bytes, such as SIP: as text, or below that."""
    data = whole.encode("utf-8", "surrogatepass") if isinstance(whole, str) else whole
    if draw(small) <= 1:
        return binary(draw, data)
    return text(draw, data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogatepass")


def _containers(root: Any) -> list[Any]:
    found = [root]
    for container in found:
        inner = container.values() if isinstance(container, dict) else container
        found += [value for value in inner if isinstance(value, dict | list)]
    return found


def _respelled(draw: Draw, value: Any) -> Any:
    """The same value as some peers write it, or nearly."""
    if isinstance(value, str):
        at = draw(_places) % (len(value) + 1)
        copies = min(draw(_copies), 1 + LARGEST_PART // (len(value) + 1))
        choices = (
            value.upper(),
            f" {value} ",
            value[:at],
            value[:at] + draw(texts) + value[at:],
            [value],
            value * copies,
        )
        return choices[draw(_places) % len(choices)]
    return str(value) if draw(_yes) else [value]


def _raw(draw: Draw) -> str:
    """A value as no encoder writes it."""
    depth = draw(_depths)
    choices = (*_NUMBERS, '"\\ud800"', '"\\x"', '"\n"', "[" * depth, "[" * depth + "]" * depth, '{"a":' * depth, "{}}")
    return choices[draw(_places) % len(choices)]


def _cut(draw: Draw, whole: str, piece: str) -> str:
    at, end = draw(_places) % (len(whole) + 1), draw(_places) % (len(whole) + 1)
    return whole[: min(at, end)] + piece + whole[max(at, end) :]


def _lines(draw: Draw, whole: str) -> str:
    """Lose, repeat, swap or put in a line, or what stands between two separators."""
    separator = draw(_separators)
    lines = whole.split(separator)
    at, other = draw(_places) % len(lines), draw(_places) % len(lines)
    room = 1 + LARGEST_PART // (len(lines[at]) + len(lines[other]) + 1)
    match draw(small):
        case 0 | 1:
            del lines[at]
        case 2 | 3:
            lines.insert(at, lines[other])
        case 4:
            lines[at], lines[other] = lines[other], lines[at]
        case 5:
            lines[at] = draw(texts)
        case 6:  # many of a kind, each a little different
            lines[at:at] = [f"{index:x}{lines[other]}" for index in range(min(room, draw(_similar)))]
        case _:
            lines[at : at + 1] = [lines[at]] * min(room, draw(_repeats))
    return separator.join(lines)


def _words(draw: Draw, whole: str) -> str:
    """Replace a word; one that is a number more often by another number."""
    place = draw(_places) % (len(whole) + 1)
    if draw(_yes) and (found := _NUMBER.search(whole, place) or _NUMBER.search(whole)):
        return whole[: found.start()] + draw(numbers) + whole[found.end() :]
    if found := _WORD.search(whole, place) or _WORD.search(whole):
        return whole[: found.start()] + draw(_words_instead) + whole[found.end() :]
    return whole + draw(texts)


def _grown(draw: Draw, whole: str) -> str:
    """Repeat a piece until the whole is as large as may come."""
    at, size = draw(_places) % (len(whole) + 1), draw(_sizes)
    piece = whole[at : at + size]
    return whole[:at] + piece * (draw(_lengths) // max(1, len(piece))) + whole[at:]
