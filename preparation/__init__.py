"""Preparation of audio and lists: download, extract, convert, generate, check, pack.

dataprep.py calls the steps: steps.py for the corpora described in corpora/, folder.py and source.py for
other recordings, demo.py, synthetic.py, inspect.py (--check, --pack) and status.py. A step returns messages
to print and is safe to repeat: finished work is skipped, interrupted work is continued. Tests and benchmarks
also use the modules that do the work (download, extract, convert, check, pack). inference/ downloads models
with download.py, and reads wheels with members.py; no other package imports from here.
"""
