"""Simulated telephone calls: places calls at a real gateway over real sockets, and checks its events."""
