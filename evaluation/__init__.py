"""Trial lists to scores and figures.

`trial_test` scores lists with a network, by way of `embedder` (recordings to vectors), `store` (embeddings
kept for later runs) and `cohort`; `results` writes what comes out of it, and `decisions` accepts or rejects
trials by a threshold in a model file. `prepare` puts a cohort and a backend (`backends`) into a model file.

Of a training run, `run_tests` are what its networks are tested on (`validation`: the trials of training
speakers set aside), `run_models` its model files and `imprinting` how a loss head may start. `stages` does
the stages of a config file one after the other; `kept_model` chooses what each hands on.
"""
