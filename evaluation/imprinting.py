"""Class weights that start as mean embeddings of the speakers (Qi et al. 2018, arXiv:1712.07136)."""

import torch
from torch import Tensor, nn

import distributed
from distributed.signals import StopSignal
from evaluation.cohort import CohortList
from normalization._cohort import speaker_means
from options import Options
from SpeakerNet import SpeakerNet
from storage import checkpoint

UTTERANCES = 4  # of a speaker, the first ones of the train list: more take time and change a mean little


def imprinted_heads(loss: nn.Module | None, values: Options) -> list[nn.Module]:
    """Loss, resolved options -> its heads that start from embeddings.

    Raises:
        ValueError: --init_head mean or --teacher is given, and there are none; or they need --teacher.
    """
    if loss is None:
        return []
    flag = "--teacher" if values.teacher else "--init_head mean"
    heads = [module for module in loss.modules() if hasattr(module, "imprint")]
    needs_teacher = any(getattr(head, "needs_teacher", False) for head in heads)
    if needs_teacher and not values.teacher:
        raise ValueError(
            f"--trainfunc {values.trainfunc} learns the embeddings of another network; give it: "
            "--teacher campplus-zh-en"
        )
    if needs_teacher and values.augment and "speed" in values.augment_chain:
        raise ValueError(
            f"--trainfunc {values.trainfunc}: at another speed a speaker has another voice, of which "
            "--teacher gives no embedding; leave speed out of --augment_chain"
        )
    if values.init_head != "mean" and not values.teacher:
        return []
    if not heads:
        raise ValueError(
            f"{flag}: {values.trainfunc} compares embeddings with no weights of speakers by cosine; choose "
            "another --trainfunc, such as aamsoftmax, or leave the flag out"
        )
    return heads


def load_teacher(path: str, values: Options, device: torch.device) -> SpeakerNet:
    """Model file -> the network whose embeddings the one with these resolved options learns.

    Raises:
        FileNotFoundError, ValueError: it can't be read, or its embeddings have another size than --nOut.
    """
    model_file = checkpoint.load_model(path)
    size = model_file.options["nOut"]
    if size != values.nOut:
        raise ValueError(f"--teacher {path} has embeddings of {size} values; give --nOut {size}")
    return SpeakerNet.from_model_file(model_file).to(device).eval()


def imprint(
    loss: nn.Module | None, source: SpeakerNet, values: Options, device: torch.device, stop: StopSignal
) -> None:
    """Set class weights to embeddings if asked for; to be called by all processes.

    Args:
        loss: its first classes are the speakers of the train list.
        source: the network that embeds them.
        values: resolved options; those of tests don't matter.
        device: where the network is.
        stop: request to stop.
    """
    heads = imprinted_heads(loss, values)
    if not heads:
        return
    directions = speaker_directions(source, values, device, stop).to(device)
    for head in heads:
        head.imprint(directions, values.nClasses, values.seed)  # type: ignore[operator]


def speaker_directions(
    network: SpeakerNet, values: Options, device: torch.device, stop: StopSignal
) -> Tensor:
    """See imprint -> the mean length-normalised embedding of each speaker (S, D), in every process.

    The rows of speakers none of whose recordings can be used are zeros.
    """
    of_train_list = values.replaced(
        cohort_list="",
        cohort_path="",
        cohort_utterances=UTTERANCES,
        scoring="cosine",
        eval_frames=0,
        num_eval=1,
        vad="none",
    )
    utterances = CohortList(of_train_list, device)
    embedded = utterances.vectors(network, stop, None)
    directions = None
    if embedded is not None:
        means, labels = speaker_means(embedded.vectors, embedded.labels)
        directions = torch.zeros(len(utterances.speakers), means.shape[1])
        directions[torch.from_numpy(labels)] = means
    return distributed.broadcast(directions)
