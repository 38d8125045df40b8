"""What the detector makes of a manifest's voices over telephone lines of every kind: `callscreen sim matrix`.

`cast` reads the manifest and pairs voices to calls, `cells` are the conditions, `play` plays every call under each,
`figures` counts, `svg` and `page` draw, `command` is the command line.
"""
