"""AudioSocket, Asterisk's protocol over TCP."""
