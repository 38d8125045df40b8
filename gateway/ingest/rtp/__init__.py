"""RTP: parses packets into the audio of legs."""
