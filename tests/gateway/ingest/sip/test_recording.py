"""SIPREC metadata and bodies as the field sends them: every deviation that is known, one test each."""

from __future__ import annotations

import pytest

from gateway.errors import ProtocolError, UnsupportedMedia
from gateway.ingest.sip import multipart
from gateway.ingest.sip.recording import Metadata

SDP = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n"

ORACLE = """<?xml version='1.0' encoding='UTF-8'?>
<recording xmlns='urn:ietf:params:xml:ns:recording'>
<datamode>complete</datamode>
<session id="BYiC7uSZEGN3VQdzWI1HWw=="><associate-time>2026-01-01T00:00:00</associate-time></session>
<participant id="hq18GJs3TtJdhjTsfYNx/A==" session="BYiC7uSZEGN3VQdzWI1HWw==">
  <nameID aor="sip:sipp@168.192.24.40"><name>sipp</name></nameID>
  <send>aD1b9eOjQsxFI98Bwzz4Pw==</send>
  <extensiondata xmlns:apkt="http://acmepacket.com/siprec/extensiondata">
    <apkt:callingParty>true</apkt:callingParty></extensiondata>
</participant>
<participant id="Ki7T80UaQvJsU5VmTiJRGw==" session="BYiC7uSZEGN3VQdzWI1HWw==">
  <nameID aor="sip:service@168.192.24.60"/>
  <send>gp3vKfgRTZlVBJq4ESX3bg==</send>
  <extensiondata xmlns:apkt="http://acmepacket.com/siprec/extensiondata">
    <apkt:callingParty>false</apkt:callingParty></extensiondata>
</participant>
<stream id="aD1b9eOjQsxFI98Bwzz4Pw==" session="BYiC7uSZEGN3VQdzWI1HWw=="><label>16777227</label></stream>
<stream id="gp3vKfgRTZlVBJq4ESX3bg==" session="BYiC7uSZEGN3VQdzWI1HWw=="><label>16777228</label></stream>
</recording>"""
SONUS = """<tns:recording xmlns:tns="urn:ietf:params:xml:ns:recording">
<tns:participant participant_id="first"><tns:nameID aor="sip:first@example.com"/></tns:participant>
<tns:participant participant_id="second"><tns:nameID aor="sip:second@example.com"/></tns:participant>
<tns:stream stream_id="x"><tns:label>1</tns:label></tns:stream>
<tns:stream stream_id="y"><tns:label>2</tns:label></tns:stream>
<tns:participantstreamassoc participant_id="first"><tns:send>y</tns:send>
<tns:recv>x</tns:recv></tns:participantstreamassoc>
<tns:participantstreamassoc participant_id="second"><tns:send>x</tns:send>
<tns:recv>y</tns:recv></tns:participantstreamassoc>
</tns:recording>"""
SEMS = """<recording xmlns='urn:ietf:params:xml:ns:recording:1'>
<participant participant_id="a"><nameID aor="sip:a@example.com"/></participant>
<participant participant_id="b"><nameID aor="sip:b@example.com"/></participant>
<stream stream_id="1"><label>a_leg</label></stream><stream stream_id="2"><label>b_leg</label></stream>
<participantstreamassoc participant_id="a"><send>1</send></participantstreamassoc>
<participantstreamassoc participant_id="b"><send>2</send></participantstreamassoc></recording>"""
OPENSIPS_OLD = """<?xml version="1.0" encoding="UTF-8"?>
<recording xmlns='urn:ietf:params:xml:ns:recording:1'><datamode>complete</datamode>
<participant participant_id="p"><nameID aor="sip:alice@example.com"/></participant>
<stream stream_id="s"><label>1</label></stream></recording>"""
BROADWORKS = """<recording xmlns="urn:ietf:params:xml:ns:siprec">
<participant id="1"><nameID aor="sip:a@example.com"/></participant>
<participant id="2"><nameID aor="sip:b@example.com"/></participant>
<stream id="m"><label>1</label></stream>
<participantstreamassoc id="1"><send>m</send></participantstreamassoc>
<participantstreamassoc id="2"><send>m</send></participantstreamassoc></recording>"""


def speakers(xml: str, *labels: str) -> list[list[str | None]]:
    metadata = Metadata()
    metadata.merge(xml.encode())
    return [[speaker.aor for speaker in metadata.speakers(label)] for label in labels]


def test_oracles_metadata_names_streams_and_the_caller() -> None:
    metadata = Metadata()
    metadata.merge(ORACLE.encode())
    assert [metadata.speakers(label)[0].is_caller for label in ("16777227", "16777228")] == [True, False]
    assert speakers(ORACLE, "16777227") == [["sip:sipp@168.192.24.40"]]


def test_sonus_prefixes_and_its_order_means_nothing() -> None:
    assert speakers(SONUS, "1", "2") == [["sip:second@example.com"], ["sip:first@example.com"]]


def test_sems_labels_are_words() -> None:
    assert speakers(SEMS, "a_leg", "b_leg") == [["sip:a@example.com"], ["sip:b@example.com"]]


def test_old_opensips_associates_nobody() -> None:
    assert speakers(OPENSIPS_OLD, "1") == [[]]


def test_broadworks_mixes_both_in_one_stream() -> None:
    assert speakers(BROADWORKS, "1") == [["sip:a@example.com", "sip:b@example.com"]]


def test_a_partial_update_changes_what_it_names() -> None:
    metadata = Metadata()
    metadata.merge(SEMS.encode())
    metadata.merge(
        b"<recording><datamode>partial</datamode><participant participant_id='c'><nameID aor='sip:c@x'/></participant>"
        b"<participantstreamassoc participant_id='a'><send>9</send></participantstreamassoc>"
        b"<participantstreamassoc participant_id='c'><send>1</send></participantstreamassoc></recording>"
    )
    assert [speaker.aor for speaker in metadata.speakers("a_leg")] == ["sip:c@x"]
    assert [speaker.aor for speaker in metadata.speakers("b_leg")] == ["sip:b@example.com"]


def test_what_is_left_out_is_not_known() -> None:
    bare = "<recording><participant id='p'><send>s</send></participant><stream id='s'/><stream id='t'><label/></stream>"
    assert speakers(bare + "<stream id='s'><label>1</label></stream></recording>", "1", "") == [[None], []]


def test_an_unknown_label_has_no_speaker() -> None:
    assert speakers(SEMS, "3") == [[]]
    assert Metadata().speakers(None) == []


@pytest.mark.parametrize(
    ("xml", "complaint"),
    [
        (b"<recording>", "expected XML"),
        (b"<html/>", "expected <recording>"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><recording>&a;</recording>', "no document type"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><recording>&a;</recording>'.encode("utf-16"), "expected XML"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><recording>&a;</recording>'.encode("utf-16-le"), "expected XML"),
    ],
)
def test_metadata_that_is_none(xml: bytes, complaint: str) -> None:
    with pytest.raises(ProtocolError, match=complaint):
        Metadata().merge(xml)


def test_metadata_does_not_grow_for_ever() -> None:
    known = Metadata()
    for number in range(256):
        known.merge(f"<recording><participant participant_id='p{number}'/></recording>".encode())
    with pytest.raises(ProtocolError, match="expected at most 256 participants"):
        known.merge(b"<recording><participant participant_id='one more'/></recording>")


def test_metadata_in_another_encoding_is_read_as_far_as_it_goes() -> None:
    known = Metadata()
    known.merge(
        "<recording><stream stream_id='s1'><label>1</label></stream><x>M\u00fcller</x></recording>".encode("latin-1")
    )
    assert known.stream_of == {"1": "s1"}


def body(*parts: tuple[str, str], boundary: str = "b", end: str = "\r\n--b--\r\n") -> bytes:
    return ("\r\n".join(f"--{boundary}\r\n{head}\r\n\r\n{content}" for head, content in parts) + end).encode()


SDP_PART = ("Content-Type: application/sdp", SDP)
XML_PART = ("Content-Type: application/rs-metadata+xml\r\nContent-Disposition: recording-session", SEMS)


def test_cisco_adds_a_third_part_and_a_handling() -> None:
    cisco = body(
        ("Content-Type: application/sdp\r\nContent-Disposition: session;handling=required", SDP),
        XML_PART,
        ("Content-Type: application/gtd\r\nContent-Disposition: signal;handling=optional", "IAM,"),
    )
    read = multipart.read("multipart/mixed;boundary=b", cisco)
    assert (read.sdp or b"").startswith(b"v=0")
    assert b"recording" in (read.metadata or b"")


def test_broadworks_line_feeds_order_and_content_type() -> None:
    lines = body(XML_PART, SDP_PART, boundary="UniqueBroadWorksBoundary").replace(b"\r\n", b"\n")
    read = multipart.read("multipart/mixed; charset=, boundary", lines)
    assert (read.sdp or b"").startswith(b"v=0")
    assert read.metadata is not None


def test_opensips_boundary_and_no_final_line_end() -> None:
    opensips = body(SDP_PART, XML_PART, boundary="OSS-unique-boundary-42", end="\r\n--OSS-unique-boundary-42--")
    read = multipart.read("multipart/mixed;boundary=OSS-unique-boundary-42", opensips)
    assert read.metadata == SEMS.replace("\r\n", "\n").encode()


@pytest.mark.parametrize("content_type", ['multipart/mixed;boundary="b"', "Multipart/Mixed; Boundary=b ; x=y"])
def test_boundaries_quoted_or_not_after_a_preamble_without_an_end(content_type: str) -> None:
    read = multipart.read(content_type, b"This is a preamble\r\n" + body(SDP_PART, XML_PART, end=""))
    assert read.sdp is not None
    assert read.metadata is not None


def test_the_older_type_of_metadata_and_none_at_all() -> None:
    older = body(SDP_PART, ("content-type:application/rs-metadata", SEMS))
    assert multipart.read("multipart/mixed;boundary=b", older).metadata is not None
    assert multipart.read("multipart/mixed;boundary=b", body(SDP_PART)).metadata is None
    assert multipart.read("application/sdp", SDP.encode()) == multipart.Body(SDP.encode(), None)
    assert multipart.read(None, b"") == multipart.Body(None, None)


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/mixed"])
def test_other_bodies_are_refused(content_type: str) -> None:
    with pytest.raises(UnsupportedMedia):
        multipart.read(content_type, b"hello")
