"""SIPREC metadata: who speaks on which stream (RFC 7865).  [S]

The one rule: the SDP's label names a stream, and the participant whose ``send`` names that stream speaks on it. Order
means nothing; with one vendor the second participant sends on label 1. Elements are matched by their local names, for
vendors disagree on namespaces, prefixes and on where identifiers stand.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from gateway.errors import ProtocolError

Element = ET.Element

MAX_KNOWN = 256
"""Participants, or streams, of one call: its updates must not go on for ever."""


@dataclass(slots=True)
class Participant:
    """Somebody in the recorded call."""

    aor: str | None = None
    """Their address, e.g. ``sip:+4930123@pbx.example.com``. Personal: never logged."""
    is_caller: bool | None = None
    """As the metadata says outright (Oracle's ``callingParty``); None where it does not."""


@dataclass(slots=True)
class Metadata:
    """What is known of a recorded call; `merge` takes updates in."""

    participants: dict[str, Participant] = field(default_factory=dict)
    stream_of: dict[str, str] = field(default_factory=dict)
    """Stream by label."""
    senders: dict[str, set[str]] = field(default_factory=dict)
    """Participants by the stream they speak on."""

    def speakers(self, label: str | None) -> list[Participant]:
        """Return who speaks on the stream of that label: one, unless it is unknown or mixed."""
        stream = self.stream_of.get(label or "", "")
        return [self.participants[sender] for sender in sorted(self.senders.get(stream, ()))]

    def merge(self, xml: bytes) -> None:
        """Take a document in, complete or partial: what it names replaces what was known of that.

        Raises:
            ProtocolError: it is not such a document.
        """
        sent: dict[str, set[str]] = {}
        for element in _parse(xml).iter():
            name = _local(element)
            if name == "participant":
                self._participant(element)
            elif name == "stream":
                self._stream(element)
            if name in ("participant", "participantstreamassoc"):  # some vendors put `send` into the participant itself
                streams = {(child.text or "").strip() for child in element if _local(child) == "send"}
                sent.setdefault(_id(element, "participant"), set()).update(streams)
        for participant, streams in sent.items():
            if streams:
                self._associate(participant, streams)
        if max(len(self.participants), len(self.stream_of), len(self.senders)) > MAX_KNOWN:
            raise ProtocolError(f"metadata: expected at most {MAX_KNOWN} participants and streams in a call, got more")

    def _participant(self, element: Element) -> None:
        name = next((child for child in element.iter() if _local(child) == "nameid"), None)
        calling = next((child for child in element.iter() if _local(child) == "callingparty"), None)
        known = self.participants.setdefault(_id(element, "participant"), Participant())
        if name is not None and (aor := name.get("aor")):
            known.aor = aor.strip()
        if calling is not None:
            known.is_caller = (calling.text or "").strip().lower() == "true"

    def _stream(self, element: Element) -> None:
        label = next((child for child in element if _local(child) == "label"), None)
        if label is not None and label.text:
            self.stream_of[label.text.strip()] = _id(element, "stream")

    def _associate(self, participant: str, streams: set[str]) -> None:
        self.participants.setdefault(participant, Participant())
        for senders in self.senders.values():
            senders.discard(participant)
        for stream in streams:
            self.senders.setdefault(stream, set()).add(participant)


def _parse(xml: bytes) -> Element:
    try:
        text = xml.decode("utf-8-sig", "replace").strip()
        if "\0" in text:  # UTF-16, which the parser would find out by itself: there a document type could hide
            raise ProtocolError("metadata: not XML in UTF-8")
        if re.search(r"<!(DOCTYPE|ENTITY)", text, re.IGNORECASE):
            raise ProtocolError("metadata: expected no document type (entities can be made to explode)")
        root = ET.fromstring(text)  # noqa: S314  no entities: see above
    except ET.ParseError as error:
        raise ProtocolError(f"metadata: not XML: {error}") from None
    if _local(root) not in ("recording", "recording_session"):
        raise ProtocolError(f"metadata: expected <recording> (RFC 7865), got <{_local(root)[:40]}>")
    return root


def _local(element: Element) -> str:
    """The element's name without namespace, in lower case."""
    return str(element.tag).rpartition("}")[2].lower()


def _id(element: Element, kind: str) -> str:
    """The identifier in ``KIND_id`` or ``id``, whatever its namespace."""
    attributes = {name.rpartition("}")[2].lower(): value.strip() for name, value in element.attrib.items()}
    return attributes.get(f"{kind}_id") or attributes.get("id") or ""
