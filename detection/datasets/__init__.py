"""Manifests of published data sets, from the layout and the protocol files of their archives: `detect dataset`.

`entries` is what a loader yields; `asvspoof`, `deepfakes`, `speech` and `plain` are the loaders; `command` is the
command line.
"""
