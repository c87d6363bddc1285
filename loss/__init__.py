"""Training objectives, chosen with --trainfunc: one file, one choice.

Contract of a file: `class LossFunction(nn.Module)` with
`__init__(self, embedding_dim, num_speakers, *, options)` and the attributes `min_utterances` (1 or 2
per speaker and batch) and `normalize` (whether scoring length-normalises embeddings). Calling it turns
embeddings (S, M, D) and labels (S,) into the mean loss () and one figure () in [0, 1] for the batch: an
accuracy, or the equal error rate of its pairs. A loss whose attribute `per_speaker` is True tells instead the
accuracy of each speaker's utterances (S,). A method `set_epoch(epoch)`, where there is one, is called with
1, 2, ... before each epoch.

A loss over classes may have a method `shard()`, called by every process once its weights are in place and
before the optimizer is made: it keeps the parameters of this process's classes only. From then on it turns
this process's embeddings and labels, as many in every process, into the mean loss () over all processes'
batches, the same everywhere, and the accuracy of this process's speakers; the gradients of what it split
need no averaging. `_sharded.split_parameters` names those parameters, `own_part` and `joined` cut and join
them and what an optimizer keeps for them.
"""
