"""The called side of SIP: transactions, dialogs, timers (RFC 3261, RFC 4028, RFC 7866).  [S]

Times are arguments. Messages are sent through a `Flow`; decisions are made by a `Handler`.

A request is answered once, and the response is stored: it is sent again for a repeated request and, for an INVITE,
until the ACK comes. An error response is repeated over UDP only, a 200 over any transport (RFC 3261 section 13.3.1.4).
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
from gateway.ingest.sip.message import ParsedRequest, ParsedResponse
from gateway.ingest.sip.multipart import ACCEPTED

T1_S, T2_S = 0.5, 4.0
TRANSACTION_S = 64 * T1_S
"""How long a request may be repeated, and an ACK is awaited."""
MAX_TRANSACTIONS = 10_000
"""Stored transactions; beyond this requests are dropped, and their senders repeat them."""
_DELTA_SECONDS = re.compile(r"[0-9]{1,10}")
"""RFC 3261 section 25.1 sets no limit; ten digits are three hundred years."""
CAPABILITIES = {
    "Allow": ", ".join(message.METHODS),
    "Supported": ", ".join(message.SUPPORTED),
    "Accept": ", ".join(ACCEPTED),
}


@dataclass(slots=True)
class Transaction:
    """A request of the peer, and our response."""

    request: ParsedRequest
    flow: Flow
    until_s: float
    dialog: Dialog | None = None
    code: int = 0
    """Status of the final response; 0 while there is none."""
    answer: bytes = b""
    repeat_s: float | None = None
    """When the response is sent again unless an ACK comes; None: never."""
    interval_s: float = T1_S


@dataclass(slots=True)
class _PendingBye:
    """A BYE of ours without a response yet."""

    data: bytes
    flow: Flow
    until_s: float
    repeat_s: float
    interval_s: float = T1_S


class Handler(Protocol):
    """Makes the decisions."""

    def offered(self, transaction: Transaction) -> None:
        """An INVITE or UPDATE in `transaction.dialog` needs a response: call `Uas.answer` soon."""
        ...

    def ended(self, dialog: Dialog, reason: str) -> None:
        """The dialog has ended."""
        ...


class Uas:
    """The state of all transactions and dialogs."""

    def __init__(
        self, handler: Handler, min_session_s: int, token: Callable[[], str], digest: Digest | None = None
    ) -> None:
        """Start without any state.

        Args:
            handler: makes the decisions.
            min_session_s: shortest session timer that is accepted.
            token: returns a new random token each time.
            digest: authenticates the senders of INVITEs; None: no authentication.
        """
        self.dialogs: dict[tuple[str, str, str], Dialog] = {}
        self._handler = handler
        self._min_session_s = min_session_s
        self._token = token
        self._digest = digest
        self._transactions: dict[tuple[str, str], Transaction] = {}
        self._invitations: dict[tuple[str, str, int], Transaction] = {}
        """The newest INVITE by call, sender and sequence number, to which an ACK refers."""
        self._byes: dict[str, _PendingBye] = {}

    def receive(self, data: bytes, flow: Flow, now_s: float) -> None:
        """Process one message.

        Raises:
            ProtocolError: it is not a SIP message, so it cannot be answered.
            Overloaded: there are too many transactions; the sender will repeat it.
        """
        request = message.read(data)
        if isinstance(request, ParsedResponse):
            if request.code >= 200:
                self._byes.pop(request.branch, None)
            return
        if request.method == "ACK":
            self._acknowledged(request)
            return
        key = (request.branch, request.method)
        if (known := self._transactions.get(key)) is not None:
            if known.answer:
                self._send(known)
            return
        if len(self._transactions) >= MAX_TRANSACTIONS:
            raise Overloaded(f"sip: {MAX_TRANSACTIONS} requests are pending already")
        transaction = self._transactions[key] = Transaction(request, flow, now_s + TRANSACTION_S)
        if request.method == "INVITE":
            self._invitations[request.invite_key] = transaction
        self._request(transaction, now_s)

    def answer(
        self,
        transaction: Transaction,
        code: int,
        now_s: float,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> None:
        """Answer a request once; later answers to it are ignored."""
        if transaction.code:
            return
        request, dialog = transaction.request, transaction.dialog
        tag = "" if code == 100 else dialog.local_tag if dialog else self._token()
        transaction.answer = message.respond(request, code, transaction.flow.peer, tag=tag, headers=headers, body=body)
        self._send(transaction)
        if code < 200:
            return
        is_reliable = transaction.flow.transport != "UDP"
        awaits_ack = request.method == "INVITE" and not (is_reliable and code >= 300)
        if awaits_ack:
            transaction.repeat_s = now_s + T1_S
        # Over reliable transports nothing is repeated, so nothing needs to be stored (RFC 3261, timers I and J).
        transaction.code = code
        transaction.until_s = now_s + (TRANSACTION_S if awaits_ack or not is_reliable else 0.0)
        if dialog is not None and code >= 300 and not request.to_tag:
            self._forget(dialog)

    def hang_up(self, dialog: Dialog, now_s: float) -> None:
        """End a dialog from our side. The handler is not called."""
        if dialog.is_over:
            return
        self._forget(dialog)
        branch = f"z9hG4bK{self._token()}"
        bye = _PendingBye(dialog.bye(branch), dialog.flow, now_s + TRANSACTION_S, now_s + T1_S)
        bye.flow.send(bye.data)
        if dialog.flow.transport == "UDP":
            self._byes[branch] = bye

    def tick(self, now_s: float) -> None:
        """Handle timers; to be called several times a second."""
        for dialog in list(self.dialogs.values()):
            if dialog.expires_s is not None and now_s >= dialog.expires_s:
                self._give_up(dialog, "session_expired", now_s)
        for key, transaction in list(self._transactions.items()):
            if now_s >= transaction.until_s:
                del self._transactions[key]
                if self._invitations.get(transaction.request.invite_key) is transaction:
                    del self._invitations[transaction.request.invite_key]
                if transaction.repeat_s is not None and transaction.code < 300 and transaction.dialog:
                    self._give_up(transaction.dialog, "not_acknowledged", now_s)
            elif transaction.repeat_s is not None and now_s >= transaction.repeat_s:
                transaction.interval_s = min(2 * transaction.interval_s, T2_S)
                transaction.repeat_s = now_s + transaction.interval_s
                self._send(transaction)
        for branch, bye in list(self._byes.items()):
            if now_s >= bye.until_s:
                del self._byes[branch]
            elif now_s >= bye.repeat_s:
                bye.interval_s = min(2 * bye.interval_s, T2_S)
                bye.repeat_s = now_s + bye.interval_s
                bye.flow.send(bye.data)

    def _request(self, transaction: Transaction, now_s: float) -> None:
        request = transaction.request
        if request.method == "CANCEL":
            self._cancel(transaction, now_s)
            return
        if request.method not in message.METHODS:
            self.answer(transaction, 405, now_s, CAPABILITIES)
            return
        unknown = [name for name in request.message.require if name.lower() not in message.SUPPORTED]
        if unknown:
            self.answer(transaction, 420, now_s, {"Unsupported": ", ".join(unknown)})
            return
        if request.to_tag:
            self._within_dialog(transaction, now_s)
        elif request.method == "OPTIONS":
            self.answer(transaction, 200, now_s, CAPABILITIES)
        elif request.method == "INVITE":
            self._invited(transaction, now_s)
        else:
            self.answer(transaction, 481, now_s)

    def _within_dialog(self, transaction: Transaction, now_s: float) -> None:
        request = transaction.request
        dialog = self.dialogs.get((request.call_id, request.to_tag, request.from_tag))
        if dialog is None:
            self.answer(transaction, 481, now_s)
            return
        if request.sequence <= dialog.remote_sequence:
            self.answer(transaction, 500, now_s)  # RFC 3261 section 12.2.2
            return
        transaction.dialog = dialog
        dialog.remote_sequence, dialog.flow = request.sequence, transaction.flow
        if request.method == "BYE":
            self.answer(transaction, 200, now_s)
            self._forget(dialog)
            self._handler.ended(dialog, "stopped")
        elif request.method in ("INVITE", "UPDATE"):
            dialog.remote_target = request.contact or dialog.remote_target
            if self._starts_timer(transaction, now_s):
                self._handler.offered(transaction)
        else:
            self.answer(transaction, 200, now_s)

    def _invited(self, transaction: Transaction, now_s: float) -> None:
        request = transaction.request
        if self._digest is not None and not self._digest.accepts(request, now_s):
            self.answer(transaction, 401, now_s, {"WWW-Authenticate": self._digest.challenge(self._token(), now_s)})
            return
        if request.contact is None:
            raise ProtocolError("Contact: expected in an INVITE, got none")
        transaction.dialog = dialog = Dialog(
            request.call_id,
            self._token(),
            request.from_tag,
            request,
            transaction.flow,
            request.contact,
            request.sequence,
        )
        self.dialogs[dialog.key] = dialog
        if self._starts_timer(transaction, now_s):
            self.answer(transaction, 100, now_s)
            self._handler.offered(transaction)

    def _starts_timer(self, transaction: Transaction, now_s: float) -> bool:
        """Start the requested session timer; return False if it was refused as too short (RFC 4028 section 9)."""
        asked = transaction.request.message.headers.get("Session-Expires")
        value = (asked or "").partition(";")[0].strip()
        interval_s = int(value) if _DELTA_SECONDS.fullmatch(value) else None
        if interval_s is not None and interval_s < self._min_session_s:
            self.answer(transaction, 422, now_s, {"Min-SE": str(self._min_session_s)})
            return False
        assert transaction.dialog is not None
        transaction.dialog.refreshed(interval_s, now_s)
        return True

    def _cancel(self, transaction: Transaction, now_s: float) -> None:
        """Answer a CANCEL. It cancels an INVITE only if that has no final response (RFC 3261 section 9.2)."""
        invitation = self._transactions.get((transaction.request.branch, "INVITE"))
        if invitation is None:
            self.answer(transaction, 481, now_s)
            return
        self.answer(transaction, 200, now_s)
        if not invitation.code and invitation.dialog is not None and not invitation.request.to_tag:
            self.answer(invitation, 487, now_s)
            self._handler.ended(invitation.dialog, "cancelled")

    def _acknowledged(self, request: ParsedRequest) -> None:
        """Stop repeating a response. The ACK to a 200 has a new branch, that to an error has the INVITE's."""
        for invitation in (
            self._transactions.get((request.branch, "INVITE")),
            self._invitations.get(request.invite_key),
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
        flow.send(transaction.answer, message.reply_port(transaction.request, flow.peer[1]))
