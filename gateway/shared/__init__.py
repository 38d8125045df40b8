"""One stream of events for several gateways: NATS JetStream.

    calls ── bus ── journal of this gateway ── `forwarder` ──┐
    calls ── bus ── journal of another one ── `forwarder` ───┴──> stream ── `reading` ──> subscribers (scope=all)

The journal is the buffer: committed events are forwarded in order, at once or when NATS can be reached again. A gateway
serves calls and its own subscribers whether or not NATS can be reached.
"""
