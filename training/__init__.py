"""Parts of training that ModelTrainer (SpeakerNet.py) and Run (run.py) combine, one job each.

update: an optimizer step that skips non-finite gradients. trunk: the rate of all but the loss head, and what
is frozen. margin: its schedule. nonfinite: too many skipped steps. ema, averaging: averages of weights.
sync_batchnorm: batch norm over all processes. speaker_accuracy: accuracy of each speaker, for samplers. pace,
profile: speed, and where the time goes. memory: the largest batch that fits. state: what a resume needs.
"""
