"""Orders of the training data, chosen with --sampler. Each file is one choice; _batches.py is shared.

A file defines `class Sampler(SpeakerBatches)`. A sampler decides how often each speaker is drawn in an epoch;
SpeakerBatches turns that into batches in which no speaker occurs twice. The simplest example is balanced.py;
one with an option and a state is dynamic.py.

    draws(self, generator) -> (number of speakers,), int64
        How many tuples of `per_speaker` utterances each speaker gives in this epoch. They must add up to
        `num_batches * batch_size`, none above `num_batches`, and 0 for a speaker without a tuple
        (`self.tuples` is 0). Use the NumPy generator for all random draws: it is seeded by the seed and the
        epoch. `self.apportion(weights, generator)` does this for weights (number of speakers,).
    __init__(self, labels, batch_size, per_speaker, max_per_speaker, seed, durations=None, *, options),
    optional
        Only for samplers with options: parameters after `*` become command-line options. Annotate each as
        `Annotated[type, "help"]`, give it a default, and raise ValueError, naming the flag, if it is out of
        range.
    needs_durations: bool, False by default
        `self.durations` (number of utterances,), in samples, is needed; these come from a pack.
    needs_accuracy: bool, False by default
        `set_accuracy(accuracy)` is called after each epoch; the loss must give an accuracy of each speaker.
    state_dict(self), load_state_dict(self, state), optional
        What a resumed run needs to draw the same, besides seed and epoch.
"""
