"""SIPREC metadata: which participant speaks on which stream (RFC 7865).  [S]

The SDP's label names a stream, and the participant whose ``send`` names that stream speaks on it. The order means
nothing: with one vendor the second participant sends on label 1. Elements are matched by local name, because vendors
differ in namespaces, prefixes and the position of identifiers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from gateway.errors import ProtocolError

Element = ET.Element

MAX_KNOWN = 256
"""Limit on participants, and on streams, of one call over all its updates."""

MAX_DEPTH = 16
"""Limit on the nesting of elements; RFC 7865 has five levels, and vendors nest theirs below."""


@dataclass(slots=True)
class Participant:
    """A participant of the recorded call."""

    aor: str | None = None
    """Address, e.g. ``sip:+4930123@pbx.example.com``. Personal data: never logged."""
    is_caller: bool | None = None
    """From Oracle's ``callingParty``; None if the metadata does not have it."""


@dataclass(slots=True)
class Metadata:
    """The metadata of a recorded call; `merge` applies updates."""

    participants: dict[str, Participant] = field(default_factory=dict)
    stream_of: dict[str, str] = field(default_factory=dict)
    """Stream id by label."""
    senders: dict[str, set[str]] = field(default_factory=dict)
    """Ids of the speaking participants by stream id."""

    def speakers(self, label: str | None) -> list[Participant]:
        """Return the speakers on the stream with this label: one, unless it is unknown or mixed."""
        stream = self.stream_of.get(label or "", "")
        return [self.participants[sender] for sender in sorted(self.senders.get(stream, ()))]

    def merge(self, xml: bytes) -> None:
        """Apply a complete or partial document; what it contains replaces earlier values.

        Raises:
            ProtocolError: it is not a metadata document.
        """
        sent: dict[str, set[str]] = {}
        for element in _parse(xml).iter():
            name = _local(element)
            if name == "participant":
                self._participant(element)
            elif name == "stream":
                self._stream(element)
            if name in (
                "participant",
                "participantstreamassoc",
            ):  # some vendors put `send` into the participant element
                streams = {(child.text or "").strip() for child in element if _local(child) == "send"}
                sent.setdefault(_id(element, "participant"), set()).update(streams)
        for participant, streams in sent.items():
            if streams:
                self._associate(participant, streams)

    def _participant(self, element: Element) -> None:
        name = next((child for child in element.iter() if _local(child) == "nameid"), None)
        calling = next((child for child in element.iter() if _local(child) == "callingparty"), None)
        known = self._known(_id(element, "participant"))
        if name is not None and (aor := name.get("aor")):
            known.aor = aor.strip()
        if calling is not None:
            known.is_caller = (calling.text or "").strip().lower() == "true"

    def _stream(self, element: Element) -> None:
        label = next((child for child in element if _local(child) == "label"), None)
        if label is not None and label.text:
            _check_room(self.stream_of, label.text.strip())
            self.stream_of[label.text.strip()] = _id(element, "stream")

    def _associate(self, participant: str, streams: set[str]) -> None:
        self._known(participant)
        for senders in self.senders.values():
            senders.discard(participant)
        for stream in streams:
            _check_room(self.senders, stream)
            self.senders.setdefault(stream, set()).add(participant)

    def _known(self, participant: str) -> Participant:
        _check_room(self.participants, participant)
        return self.participants.setdefault(participant, Participant())


def _check_room(known: Mapping[str, object], name: str) -> None:
    """Raises ProtocolError if `name` would exceed the limit."""
    if name not in known and len(known) >= MAX_KNOWN:
        raise ProtocolError(f"metadata: expected at most {MAX_KNOWN} participants and streams in a call, got more")


def _parse(xml: bytes) -> Element:
    try:
        text = xml.decode("utf-8-sig", "replace").strip()
        if (
            "\0" in text
        ):  # UTF-16, which the parser would detect, and which could hide a document type from the check below
            raise ProtocolError("metadata: expected XML in UTF-8")
        if re.search(r"<!(DOCTYPE|ENTITY)", text, re.IGNORECASE):
            raise ProtocolError("metadata: expected no document type (entity expansion attacks)")
        root = ET.fromstring(text)  # noqa: S314  no entities: see above
    except ET.ParseError as error:
        raise ProtocolError(f"metadata: expected XML: {error}") from None
    if _local(root) not in ("recording", "recording_session"):
        raise ProtocolError(f"metadata: expected <recording> (RFC 7865), got <{_local(root)[:40]}>")
    _check_depth(root)
    return root


def _check_depth(root: Element) -> None:
    """Raises ProtocolError if elements nest too deeply, since each participant is searched to any depth."""
    level = [root]
    for _ in range(MAX_DEPTH):
        level = [child for element in level for child in element]
    if level:
        raise ProtocolError(f"metadata: expected elements at most {MAX_DEPTH} deep")


def _local(element: Element) -> str:
    """Return the element's name without namespace, in lower case."""
    return str(element.tag).rpartition("}")[2].lower()


def _id(element: Element, kind: str) -> str:
    """Return the identifier in ``KIND_id`` or ``id``, in any namespace."""
    attributes = {name.rpartition("}")[2].lower(): value.strip() for name, value in element.attrib.items()}
    return attributes.get(f"{kind}_id") or attributes.get("id") or ""
