"""Several gateways, one stream of events: NATS JetStream.

    calls ── bus ── journal of this gateway ── `forwarder` ──┐
    calls ── bus ── journal of another one ── `forwarder` ───┴──> stream ── `reading` ──> subscribers (scope=all)

The journal is the spool: what is committed there is forwarded in order, now or when NATS can be reached again. A
gateway serves calls and its own subscribers whether NATS is there or not.
"""
