"""`callscreen detect dataset`: manifests of published data sets, from the files of their archives.

`entries` has the type that loaders yield; `asvspoof`, `deepfakes`, `speech` and `plain` are the loaders; `command` is
the command line.
"""
