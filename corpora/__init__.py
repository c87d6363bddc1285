"""Corpora that dataprep.py prepares: one file, one corpus.

Contract of a file: `def prepare(root, *, options)`, which writes the audio that it makes and checked
lists under `root` and returns lines for the user to read; and `SOURCES`, where the data comes from.
"""
