"""Audio evidence, if the operator has switched it on: some seconds around each alert, encrypted at rest.

The way of the audio::

    leg ── `recent`: its last seconds, in memory ── alert ── `recorder`: FLAC, age, a thread ── `folder`
"""
