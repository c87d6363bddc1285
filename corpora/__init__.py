"""Corpora that dataprep.py prepares, chosen with --corpus: one file, one choice.

A file defines `CORPUS`, a `_corpus.Corpus`: title, licence and how to get access; archives with addresses
and checksums; the layout of the recordings on the disk; official lists; the number of speakers and
utterances. The steps (download, extract, convert, generate, check, pack) are the same
for all corpora, in preparation/.

Where files of the corpus name speakers (`Listing`) or trials (`Protocol`), the description says which files,
and has a function without side effects that makes recordings or lists of their lines: `_keys` has its parts.
It raises ValueError for a line of another form (`KeyLine.wrong`).
"""
