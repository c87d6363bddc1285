"""Who spoke when, and who is speaking: windows of speech, their clusters, turns, names.

diarizer.py is the Python face, `diarize(voice, recording)`; monitor.py answers once a second. Importing these
doesn't import PyTorch.
"""
