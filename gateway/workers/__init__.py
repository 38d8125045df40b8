"""Several processes behind one port: ``callscreen serve --workers N``.

The first process is a complete gateway: it has the port, the journal, the subscribers, SIP, RTP and AudioSocket, and
serves calls itself. The workers serve calls only. The way of a connection and of its events::

    port ── `acceptor`: reads ahead the request line ──┬── serves it itself
                                                       └── sends the socket ── `worker`: endpoint, call, scores
    subscribers ── bus ── `joined`: merges the legs of a call from all processes ── `link` ── events ──┘

If the URL contains the call's id, a hash of the id selects the process, so all connections of the call meet there. If
the id comes later, in a message, the process with the fewest legs serves the connection.

With TLS the request line is known only after the handshake; see `secured`.
"""
