"""Events delivered to HTTP endpoints, as Standard Webhooks.

    bus ── subscription from the endpoint's position ──> `delivery` ── `sending`: signed, to a checked address
                                                            │
                                                         `store`: position, what waits, what is dead, in the journal

An endpoint is a subscriber with a memory: its position and what waits to be sent again are in the journal's file, so a
gateway that is killed goes on where it was. Each event is delivered at least once; ``webhook-id`` is the event's id.
"""
