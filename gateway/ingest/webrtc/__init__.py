"""WebRTC: WHIP in front, aiortc behind."""
