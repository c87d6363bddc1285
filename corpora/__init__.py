"""Corpora that dataprep.py prepares, chosen with --corpus: one file, one choice.

A file defines `CORPUS`, a `_corpus.Corpus`: its archives with addresses and checksums, licence, how to get
access, how its recordings lie on the disk, its official lists, and how many speakers and utterances it should
hold. The steps (download, extract, convert, generate, check, pack) are the same for all and are in preparation/.
"""
