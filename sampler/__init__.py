"""Orders of the training data, chosen with --sampler: one file, one choice.

Contract of a file: `class Sampler(SpeakerBatches)` (see _batches.py) that says how often each speaker is
drawn in an epoch: `draws(generator) -> (speakers,)`, whole numbers that add up to num_batches * batch_size,
none above num_batches and none above 0 where a speaker can't give a tuple. Options are named after `*`.
"""
