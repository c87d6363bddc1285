"""Corpora that dataprep.py prepares, chosen with --corpus: one file, one choice.

A file defines `CORPUS`, a `_corpus.Corpus`: title, licence and how to get access; archives with addresses
and checksums; the layout of the recordings on the disk; official lists; the number of speakers and
utterances. The steps (download, extract, convert, generate, check, pack) are the same
for all corpora, in preparation/.
"""
