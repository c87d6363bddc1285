"""Exported networks: written by PyTorch, used without it.

contents.py is what a file says about itself, session.py runs it in ONNX Runtime, and voice.py answers questions
with it; these three, extraction.py, which embeds many recordings, and reader.py import no PyTorch. graph.py makes
modules that can be exported, writing.py writes the files, and checks.py and measurements.py compare them with
the network.
"""

SUFFIX = ".onnx"  # ends the names of files that are models for inferSpeakerNet.py
