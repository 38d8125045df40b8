"""Many calls at once against a gateway, to see how many it holds: `callscreen sim load`.

`sender` plays calls and is a process of its own, `metrics` reads what the gateway tells of itself, `drive` runs both
and follows the events, `findings` makes figures of it, `command` is the command line.
"""
