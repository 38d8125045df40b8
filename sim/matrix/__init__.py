"""Measures the detector over telephone lines of many kinds, with a manifest's voices: `callscreen sim matrix`.

`cast` reads the manifest and pairs voices to calls, `cells` are the conditions, `play` plays every call in each cell,
`figures` computes error rates, `svg` and `page` draw, `command` is the command line.
"""
