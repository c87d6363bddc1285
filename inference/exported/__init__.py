"""Exported networks: written by PyTorch, used without it.

contents.py is what a file says about itself, session.py runs it in ONNX Runtime, voice.py answers questions
with it, and extraction.py embeds many recordings; these four don't import PyTorch. graph.py makes modules
that can be exported, onnx_file.py and writing.py write the files, and checks.py and measurements.py compare
them with the network.
"""

SUFFIX = ".onnx"  # ends the names of files that are models for inferSpeakerNet.py
