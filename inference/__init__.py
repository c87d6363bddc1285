"""Using trained models: public models from the network, and their conversion to this trainer's format.

model_source.py finds what --initial_model names, fetch.py keeps the cache of the public models that
public_models.py lists, and conversion.py reads model files of other programs. The commands use these; nothing
here imports PyTorch until a model is read.
"""
