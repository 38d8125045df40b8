"""Where things are on the one port.  [S]"""

MEDIA = "/v1/media/"
"""Before the name of a door."""
WHIP = "/v1/whip/"
"""Before the id of a call."""
EVENTS = "/v1/events"
CALLS = "/v1/calls"
