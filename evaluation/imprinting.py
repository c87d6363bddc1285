"""Class weights that start as mean embeddings of the speakers (Qi et al. 2018, arXiv:1712.07136)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import distributed
from distributed.signals import StopSignal
from evaluation.cohort import CohortList
from options import Options
from SpeakerNet import SpeakerNet

UTTERANCES = 10  # of a speaker: the first ones of the train list


def imprinted_heads(loss: nn.Module | None, values: Options) -> list[nn.Module]:
    """Loss, resolved options -> its heads that start from embeddings; none without --init_head mean.

    Raises:
        ValueError: there are none.
    """
    if values.init_head != "mean" or loss is None:
        return []
    heads = [module for module in loss.modules() if hasattr(module, "imprint")]
    if not heads:
        raise ValueError(
            f"--init_head mean: {values.trainfunc} compares embeddings with no weights of speakers by "
            "cosine; choose another --trainfunc, such as aamsoftmax, or leave the flag out"
        )
    return heads


def imprint(
    network: SpeakerNet, values: Options, device: torch.device, stop: StopSignal, speakers: Sequence[str]
) -> None:
    """Set class weights to embeddings by this network if asked for; to be called by all processes.

    Args:
        network: it has a loss.
        values: resolved options; those of tests don't matter.
        device: where the network is.
        stop: request to stop.
        speakers: the names of the classes, in their order; further classes keep their weights.
    """
    heads = imprinted_heads(network.loss, values)
    if not heads:
        return
    directions = speaker_directions(network, values, device, stop, speakers).to(device)
    for head in heads:
        head.imprint(directions, values.nClasses, values.seed)  # type: ignore[operator]


def speaker_directions(
    network: SpeakerNet, values: Options, device: torch.device, stop: StopSignal, speakers: Sequence[str]
) -> Tensor:
    """See imprint -> the mean length-normalised embedding of each speaker (S, D), in every process.

    The rows of speakers none of whose recordings can be used are zeros.
    """
    of_train_list = values.replaced(
        cohort_list="",
        cohort_path="",
        cohort_utterances=UTTERANCES,
        cohort_entries="speakers",
        subtract_mean=False,
        scoring="cosine",
        eval_frames=0,
        num_eval=1,
        vad="none",
    )
    cohort = CohortList(of_train_list, device).prepare(network, stop, None)
    directions = None
    if cohort is not None:
        rows = {speaker: row for row, speaker in enumerate(speakers)}
        directions = torch.zeros(len(speakers), cohort.entries.shape[1])
        for entry, label in zip(F.normalize(cohort.entries), cohort.labels.tolist(), strict=True):
            if cohort.speakers[label] in rows:
                directions[rows[cohort.speakers[label]]] = entry
    return distributed.broadcast(directions)
