"""Trial lists to scores and figures.

`trial_test` scores lists with a network, by way of `embedder` (recordings to vectors), `store` (embeddings
kept for later runs) and `cohort`; `results` writes what comes out of it, and `decisions` accepts or rejects
trials by a threshold in a model file.
"""
