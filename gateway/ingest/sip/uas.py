"""The called side of SIP: transactions, dialogs, timers (RFC 3261, RFC 4028, RFC 7866).  [S]

Time comes in as a number. What goes out is handed to a `Flow`; what has to be decided, to a `Handler`.

An INVITE is answered once and its answer kept: it is repeated for a repeated INVITE, and until the ACK comes. The
answer to an error is repeated over UDP only, a 200 over anything (RFC 3261 section 13.3.1.4).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.errors import Overloaded, ProtocolError
from gateway.ingest.sip import message
from gateway.ingest.sip.dialog import Dialog, Flow
from gateway.ingest.sip.digest import Digest
from gateway.ingest.sip.message import Answer, Heard
from gateway.ingest.sip.multipart import ACCEPTED

T1_S, T2_S = 0.5, 4.0
TRANSACTION_S = 64 * T1_S
"""How long a request may be repeated, and an ACK awaited."""
MAX_TRANSACTIONS = 10_000
"""Remembered at once; beyond it requests are refused without a word, and their senders repeat them."""
_DELTA_SECONDS = re.compile(r"[0-9]{1,10}")
"""RFC 3261 section 25.1 has no limit; ten digits are three hundred years."""
TOLD = {"Allow": ", ".join(message.METHODS), "Supported": ", ".join(message.SUPPORTED), "Accept": ", ".join(ACCEPTED)}


@dataclass(slots=True)
class Transaction:
    """One request of theirs and our answer to it."""

    heard: Heard
    flow: Flow
    until_s: float
    dialog: Dialog | None = None
    code: int = 0
    """Of the final answer; 0 while there is none."""
    answer: bytes = b""
    repeat_s: float | None = None
    """When the answer is sent again unless an ACK comes; None for never."""
    interval_s: float = T1_S


@dataclass(slots=True)
class _Goodbye:
    """A BYE of ours that was not answered yet."""

    data: bytes
    flow: Flow
    until_s: float
    repeat_s: float
    interval_s: float = T1_S


class Handler(Protocol):
    """Who decides."""

    def offered(self, transaction: Transaction) -> None:
        """An INVITE or UPDATE with `transaction.dialog`: `Uas.answer` it soon."""
        ...

    def ended(self, dialog: Dialog, reason: str) -> None:
        """The dialog is over."""
        ...


class Uas:
    """Everything that is remembered between messages."""

    def __init__(
        self, handler: Handler, min_session_s: int, token: Callable[[], str], digest: Digest | None = None
    ) -> None:
        """Know nobody yet.

        Args:
            token: returns a new random name each time.
            digest: demands a password of who invites us.
        """
        self.dialogs: dict[tuple[str, str, str], Dialog] = {}
        self._handler = handler
        self._min_session_s = min_session_s
        self._token = token
        self._digest = digest
        self._transactions: dict[tuple[str, str], Transaction] = {}
        self._invitations: dict[tuple[str, str, int], Transaction] = {}
        """The newest INVITE of each call, sender and number, as an ACK names them."""
        self._goodbyes: dict[str, _Goodbye] = {}

    def receive(self, data: bytes, flow: Flow, now_s: float) -> None:
        """Take one message.

        Raises:
            ProtocolError: it is none; then there is nobody to answer.
            Overloaded: there is no room to remember it; its sender repeats it.
        """
        heard = message.read(data)
        if isinstance(heard, Answer):
            if heard.code >= 200:
                self._goodbyes.pop(heard.branch, None)
            return
        if heard.method == "ACK":
            self._acknowledged(heard)
            return
        key = (heard.branch, heard.method)
        if (known := self._transactions.get(key)) is not None:
            if known.answer:
                self._send(known)
            return
        if len(self._transactions) >= MAX_TRANSACTIONS:
            raise Overloaded(f"sip: {MAX_TRANSACTIONS} requests are remembered already")
        transaction = self._transactions[key] = Transaction(heard, flow, now_s + TRANSACTION_S)
        if heard.method == "INVITE":
            self._invitations[heard.invitation] = transaction
        self._request(transaction, now_s)

    def answer(
        self,
        transaction: Transaction,
        code: int,
        now_s: float,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> None:
        """Answer a request, once; a later answer to the same one is dropped."""
        if transaction.code:
            return
        heard, dialog = transaction.heard, transaction.dialog
        tag = "" if code == 100 else dialog.our_tag if dialog else self._token()
        transaction.answer = message.respond(heard, code, transaction.flow.peer, tag=tag, headers=headers, body=body)
        self._send(transaction)
        if code < 200:
            return
        is_reliable = transaction.flow.transport != "UDP"
        awaits_ack = heard.method == "INVITE" and not (is_reliable and code >= 300)
        if awaits_ack:
            transaction.repeat_s = now_s + T1_S
        # Over what is reliable nothing is repeated, so there is nothing to remember (RFC 3261, timers I and J).
        transaction.code = code
        transaction.until_s = now_s + (TRANSACTION_S if awaits_ack or not is_reliable else 0.0)
        if dialog is not None and code >= 300 and not heard.to_tag:
            self._forget(dialog)

    def hang_up(self, dialog: Dialog, now_s: float) -> None:
        """End a dialog from our side, without telling the handler."""
        if dialog.is_over:
            return
        self._forget(dialog)
        branch = f"z9hG4bK{self._token()}"
        goodbye = _Goodbye(dialog.bye(branch), dialog.flow, now_s + TRANSACTION_S, now_s + T1_S)
        goodbye.flow.send(goodbye.data)
        if dialog.flow.transport == "UDP":
            self._goodbyes[branch] = goodbye

    def tick(self, now_s: float) -> None:
        """Do what time demands; to be called a few times a second."""
        for dialog in list(self.dialogs.values()):
            if dialog.expires_s is not None and now_s >= dialog.expires_s:
                self._give_up(dialog, "session_expired", now_s)
        for key, transaction in list(self._transactions.items()):
            if now_s >= transaction.until_s:
                del self._transactions[key]
                if self._invitations.get(transaction.heard.invitation) is transaction:
                    del self._invitations[transaction.heard.invitation]
                if transaction.repeat_s is not None and transaction.code < 300 and transaction.dialog:
                    self._give_up(transaction.dialog, "not_acknowledged", now_s)
            elif transaction.repeat_s is not None and now_s >= transaction.repeat_s:
                transaction.interval_s = min(2 * transaction.interval_s, T2_S)
                transaction.repeat_s = now_s + transaction.interval_s
                self._send(transaction)
        for branch, goodbye in list(self._goodbyes.items()):
            if now_s >= goodbye.until_s:
                del self._goodbyes[branch]
            elif now_s >= goodbye.repeat_s:
                goodbye.interval_s = min(2 * goodbye.interval_s, T2_S)
                goodbye.repeat_s = now_s + goodbye.interval_s
                goodbye.flow.send(goodbye.data)

    def _request(self, transaction: Transaction, now_s: float) -> None:
        heard = transaction.heard
        if heard.method == "CANCEL":
            self._cancel(transaction, now_s)
            return
        if heard.method not in message.METHODS:
            self.answer(transaction, 405, now_s, TOLD)
            return
        unknown = [name for name in heard.request.require if name.lower() not in message.SUPPORTED]
        if unknown:
            self.answer(transaction, 420, now_s, {"Unsupported": ", ".join(unknown)})
            return
        if heard.to_tag:
            self._within_dialog(transaction, now_s)
        elif heard.method == "OPTIONS":
            self.answer(transaction, 200, now_s, TOLD)
        elif heard.method == "INVITE":
            self._invited(transaction, now_s)
        else:
            self.answer(transaction, 481, now_s)

    def _within_dialog(self, transaction: Transaction, now_s: float) -> None:
        heard = transaction.heard
        dialog = self.dialogs.get((heard.call_id, heard.to_tag, heard.from_tag))
        if dialog is None:
            self.answer(transaction, 481, now_s)
            return
        if heard.sequence <= dialog.remote_sequence:
            self.answer(transaction, 500, now_s)  # RFC 3261 section 12.2.2
            return
        transaction.dialog = dialog
        dialog.remote_sequence, dialog.flow = heard.sequence, transaction.flow
        if heard.method == "BYE":
            self.answer(transaction, 200, now_s)
            self._forget(dialog)
            self._handler.ended(dialog, "stopped")
        elif heard.method in ("INVITE", "UPDATE"):
            dialog.remote_target = heard.contact or dialog.remote_target
            if self._is_timed(transaction, now_s):
                self._handler.offered(transaction)
        else:
            self.answer(transaction, 200, now_s)

    def _invited(self, transaction: Transaction, now_s: float) -> None:
        heard = transaction.heard
        if self._digest is not None and not self._digest.accepts(heard, now_s):
            self.answer(transaction, 401, now_s, {"WWW-Authenticate": self._digest.challenge(self._token(), now_s)})
            return
        if heard.contact is None:
            raise ProtocolError("Contact: expected in an INVITE, got none")
        transaction.dialog = dialog = Dialog(
            heard.call_id, self._token(), heard.from_tag, heard, transaction.flow, heard.contact, heard.sequence
        )
        self.dialogs[dialog.key] = dialog
        if self._is_timed(transaction, now_s):
            self.answer(transaction, 100, now_s)
            self._handler.offered(transaction)

    def _is_timed(self, transaction: Transaction, now_s: float) -> bool:
        """Start the session timer they ask for; False when it was refused as too short (RFC 4028 section 9)."""
        asked = transaction.heard.request.headers.get("Session-Expires")
        value = (asked or "").partition(";")[0].strip()
        interval_s = int(value) if _DELTA_SECONDS.fullmatch(value) else None
        if interval_s is not None and interval_s < self._min_session_s:
            self.answer(transaction, 422, now_s, {"Min-SE": str(self._min_session_s)})
            return False
        assert transaction.dialog is not None
        transaction.dialog.refreshed(interval_s, now_s)
        return True

    def _cancel(self, transaction: Transaction, now_s: float) -> None:
        """Answer a CANCEL; it undoes an INVITE only while that has no final answer (RFC 3261 section 9.2)."""
        invitation = self._transactions.get((transaction.heard.branch, "INVITE"))
        if invitation is None:
            self.answer(transaction, 481, now_s)
            return
        self.answer(transaction, 200, now_s)
        if not invitation.code and invitation.dialog is not None and not invitation.heard.to_tag:
            self.answer(invitation, 487, now_s)
            self._handler.ended(invitation.dialog, "cancelled")

    def _acknowledged(self, heard: Heard) -> None:
        """Stop repeating the answer. An ACK to a 200 has a branch of its own, one to an error the INVITE's."""
        for invitation in (
            self._transactions.get((heard.branch, "INVITE")),
            self._invitations.get(heard.invitation),
        ):
            if invitation is not None:
                invitation.repeat_s = None

    def _give_up(self, dialog: Dialog, reason: str, now_s: float) -> None:
        if not dialog.is_over:
            self.hang_up(dialog, now_s)
            self._handler.ended(dialog, reason)

    def _forget(self, dialog: Dialog) -> None:
        dialog.is_over = True
        self.dialogs.pop(dialog.key, None)

    def _send(self, transaction: Transaction) -> None:
        flow = transaction.flow
        flow.send(transaction.answer, message.reply_port(transaction.heard, flow.peer[1]))
