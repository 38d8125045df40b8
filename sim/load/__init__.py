"""Many calls at once, to measure the capacity of a gateway: `callscreen sim load`.

`sender` plays calls in a process of its own, `metrics` reads the gateway's metrics, `drive` runs both and follows the
events, `result` computes the figures, `command` is the command line.
"""
