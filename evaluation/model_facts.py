"""From a training run to the card of its model (report/model_card.py)."""

from pathlib import Path

import distributed
from audio.recording import SAMPLE_RATE
from DatasetLoader import TrainData
from options import TRAINING_KINDS, Options, chosen_options, network_options
from report.model_card import ModelFacts, model_card
from SpeakerNet import SpeakerNet
from storage.files import write_text
from storage.run_folder import RunFolder
from storage.run_log import RunLog
from storage.run_record import read_run

TRAINING = (  # what every training has; the options of its plug-ins are added
    "validation_speakers",
    "max_epoch",
    "batch_size",
    "nPerSpeaker",
    "max_frames",
    "max_seg_per_spk",
    "accumulate",
    "lr",
    "trunk_lr",
    "clip_norm",
    "ema_decay",
    "mask_bands",
    "mask_frames",
    "precision",
    "seed",
)


def write_model_card(
    model: Path,
    network: SpeakerNet,
    options: Options,
    *,
    data: TrainData,
    folder: RunFolder,
    log: RunLog,
    epoch: int,
) -> None:
    """Write the card, README.md, beside a model file of a run; once there is best.model, only for that.

    Args:
        model: the file.
        network: what is in it.
        options: of the run.
        data: what it was trained on.
        folder: of the run.
        log: of the training; has the figures of the epoch's test.
        epoch: after which the network was saved; -1: it is the average of several.
    """
    if not distributed.is_first() or (model != folder.best and folder.best.exists()):
        return
    durations = data.dataset.crops.recordings.durations()
    augmenter = data.dataset.crops.augmenter
    kinds = [kind for kind in TRAINING_KINDS if kind not in ("models", "features", "pooling")]
    facts = ModelFacts(
        title=folder.root.absolute().name,
        file=model.name,
        epoch=epoch,
        num_parameters=sum(parameter.numel() for parameter in network.model.parameters()),
        embedding_dim=options.nOut,
        network=network_options(options),
        training=chosen_options(options, kinds) | {name: options[name] for name in TRAINING},
        train_list=options.train_list,
        num_speakers=len(data.utterances.speakers),
        num_utterances=len(data.utterances.paths),
        hours=None if durations is None else float(durations.sum()) / SAMPLE_RATE / 3600.0,
        augmentation=augmenter.describe().removeprefix("augmentation: ") if augmenter else "",
        started_from=options.initial_model,
        tests=_tests(log, epoch),
        is_best=model == folder.best,
        run=read_run(log.folder),
    )
    write_text(model.with_name("README.md"), model_card(facts))


def _tests(log: RunLog, epoch: int) -> list[dict[str, object]]:
    """The records of an epoch's test: of each list the last one, as a resumed run may test an epoch again."""
    tests = {
        record["list"]: record
        for record in log.records()
        if record.get("event") == "test" and record.get("epoch") == epoch
    }
    return list(tests.values())
