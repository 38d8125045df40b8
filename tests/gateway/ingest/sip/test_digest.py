"""Who knows a password is let in, once for each challenge."""

from __future__ import annotations

import pytest

from gateway.ingest.sip.digest import MAX_NONCES, NONCE_S, Digest
from gateway.ingest.sip.message import ParsedRequest, read
from tests.gateway.ingest.sip.phone import Phone

# Worked out with openssl for user alice, password secret, realm callscreen, nonce n1, uri sip:x, INVITE.
BARE = "e99ebd96c5f9a070d5d64a86e47313d5"
WITH_QOP = "82afa343522f308869903daf75627580"
QOP = ', qop=auth, nc=00000001, cnonce="c9"'


def said(response: str, *, nonce: str = "n1", user: str = "alice", qop: str = "") -> ParsedRequest:
    value = f'Digest username="{user}", realm="callscreen", nonce="{nonce}", uri="sip:x", response="{response}"{qop}'
    heard = read(Phone("UDP").request("INVITE", Authorization=value))
    assert isinstance(heard, ParsedRequest)
    return heard


def challenged() -> Digest:
    digest = Digest({"alice": "secret"})
    assert 'nonce="n1"' in digest.challenge("n1", 0.0)
    return digest


@pytest.mark.parametrize(("response", "qop"), [(BARE, ""), (BARE.upper(), ""), (WITH_QOP, QOP)])
def test_a_right_answer_counts_once(response: str, qop: str) -> None:
    digest = challenged()
    assert digest.accepts(said(response, qop=qop), 1.0)
    assert not digest.accepts(said(response, qop=qop), 1.0)


@pytest.mark.parametrize(
    "heard", [said("0" * 32), said(BARE, user="bob"), said(BARE, nonce="n2"), said(BARE, qop=QOP), said("ü")]
)
def test_wrong_answers(heard: ParsedRequest) -> None:
    assert not challenged().accepts(heard, 1.0)


@pytest.mark.parametrize("value", ["Basic YTpi", "nonsense", 'Digest self="x"', "Digest"])
def test_answers_that_are_none(value: str) -> None:
    heard = read(Phone("UDP").request("INVITE", Authorization=value))
    assert isinstance(heard, ParsedRequest)
    assert not challenged().accepts(heard, 1.0)


def test_challenges_run_out_and_are_bounded() -> None:
    assert not challenged().accepts(said(BARE), NONCE_S)
    digest = challenged()
    for number in range(MAX_NONCES):
        digest.challenge(f"other{number}", 0.0)
    assert not digest.accepts(said(BARE), 1.0)
