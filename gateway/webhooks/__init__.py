"""Delivers events to HTTP endpoints as Standard Webhooks.

    bus ── subscription from the endpoint's position ──> `delivery` ── `sending`: signed, to a checked address
                                                            │
                                                         `store`: position, pending and dead events, in the journal

An endpoint is a subscriber whose position and pending events are in the journal's file, so a gateway that is killed
continues where it was. Each event is delivered at least once; ``webhook-id`` is the event's id.
"""
