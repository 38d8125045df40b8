"""RTP: packets in, legs out."""
