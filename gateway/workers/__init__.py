"""Several processes behind one port: ``callscreen serve --workers N``.

The first is the gateway as it always is: it has the port, the journal, the subscribers, SIP, RTP and AudioSocket, and
hears calls itself. The others hear calls only. The way of a connection, and of what comes of it::

    port ── `reception`: peeks at the request line ──┬── serves it itself
                                                     └── hands the socket over ── `worker`: door, call, scores
    subscribers ── bus ── `joined`: one call, whatever processes its legs are in ── `link` ── events ──┘

A call whose id stands in the URL goes to the process that its id falls to, so all its connections meet there. Where
the id comes later, in a message, the process with the fewest legs takes the connection.

With TLS the request line cannot be looked at before somebody has shaken hands; see `secured`.
"""
