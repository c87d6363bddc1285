"""Training objectives, chosen with --trainfunc. Each file is one choice; files with `_` are shared parts.

`--trainfunc a+0.5*b` is the weighted sum of two (_combined.py), whose options are those of both.

A file defines `class LossFunction(nn.Module)`. The simplest examples: proto.py has no parameters, softmax.py
classifies the training speakers, aamsoftmax.py has options. S: speakers in the batch, M: utterances of each,
D: embedding size.

    __init__(self, embedding_dim, num_speakers, *, options)
        Parameters after `*` become command-line options: annotate each as `Annotated[type, "help"]` and give
        it a default. Raise ValueError, naming the flag, for a value out of range. Where there is an attribute
        `margin`, --margin_schedule sets it before each step.
    forward(self, embeddings, labels) -> (loss, accuracy)
        embeddings (S, M, D), float, not normalised; labels (S,), speaker numbers below num_speakers. loss ():
        the mean over the batch. accuracy: in [0, 1], without gradient; (S,), each speaker's, where
        `per_speaker` is True, otherwise () for the batch, for example an equal error rate. Decorate it with
        `@runtime.float32`, so that it is computed in float32 under mixed precision too. Gradients must be
        finite also where embeddings are equal or opposite.
    min_utterances: int
        Smallest M: 1, or 2 if utterances of the same speaker are compared.
    max_utterances: int, optional, no limit if absent
        Largest M that is of use: the loss ignores further utterances of a speaker.
    normalize: bool
        Whether `--scoring distance` length-normalises the embeddings.
    per_speaker: bool, optional, False if absent
        See forward; `--sampler dynamic` needs it.
    set_epoch(self, epoch), optional
        Called before each epoch with its number, from 1.
    imprint(self, directions, num_speakers, seed), optional: the loss supports --init_head mean and --teacher
        Called in every process before the first step: lets the weights of the classes start as given
        directions. Subclasses of `_head.CosineClassifier` have this method.
    needs_teacher: bool, optional, False if absent
        Whether the directions must be those by --teacher.
    shard(self), optional: the loss supports --shard_head
        Called in every process after the weights are loaded and before the optimizer is built. Keeps the
        parameters of this process's classes. From then on `forward` takes this process's part of the batch,
        of the same size in every process, and returns the mean loss over all processes, equal in all, and the
        accuracy of this process's speakers. Subclasses of `_head.ClassHead` have this method; the helpers
        that split and join parameters are in _sharded.py.
"""
