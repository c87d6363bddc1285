"""Enrolled speakers: a database, the search in it, and who speaks in a recording.

identification.py puts a voice and a database together; search.py ranks the speakers by a vector, open_set.py
decides whether it is one of them, tuning.py chooses when. Nothing here imports PyTorch.
"""
