"""WebRTC: signalled by WHIP, received through aiortc."""
