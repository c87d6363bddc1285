"""The steps of dataprep.py: download, extract, convert, check, generate, pack."""
