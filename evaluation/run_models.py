"""The model files of a training run: of the tested epochs, the best one and the average of the last ones."""

from dataclasses import dataclass
from pathlib import Path

import distributed
from DatasetLoader import TrainData
from distributed.signals import StopSignal
from evaluation.model_facts import write_model_card
from evaluation.run_tests import RunTests
from options import Options
from SpeakerNet import ModelTrainer, SpeakerNet
from storage import checkpoint
from storage.checkpoint import ModelFile
from storage.run_folder import RunFolder
from storage.run_log import RunLog
from training.averaging import average, update_batchnorm


@dataclass(frozen=True)
class RunModels:
    """Saves the networks of a run as model files; every method is to be called by all processes."""

    options: Options  # with the number of speakers in nClasses, as they are saved
    folder: RunFolder
    log: RunLog
    data: TrainData
    trainer: ModelTrainer

    def save(self, network: SpeakerNet, metrics: dict[str, float], epoch: int, *, is_best: bool) -> None:
        """Save the network of a tested epoch with the figures of its test, and the card of the best one."""
        model_file = self._model_file(network, metrics)
        _write(self.folder.model(epoch), model_file)
        self.folder.forget_average()
        if is_best:
            _write(self.folder.best, model_file)
        self.write_card(self.folder.best if is_best else self.folder.model(epoch), network, epoch)

    def write_card(self, model: Path, network: SpeakerNet, epoch: int) -> None:
        """Write the card of a model file, in which is the network of an epoch."""
        write_model_card(
            model, network, self.options, data=self.data, folder=self.folder, log=self.log, epoch=epoch
        )

    def save_average(self, tests: RunTests, stop: StopSignal) -> None:
        """Save and test average.model, whose batch norm has the statistics of the training data."""
        count = self.options.average_last
        paths = distributed.broadcast([str(path) for path in self.folder.last_models(count)])
        network = SpeakerNet.build(self.options)
        network.normalize = self.trainer.network.normalize
        self.data.sampler.set_epoch(self.options.max_epoch)
        with distributed.errors_on_all_ranks():
            averaged = average([checkpoint.load_model(path).weights for path in paths])
            trunk, loss = checkpoint.split_loss(averaged)
            checkpoint.load_weights(network, trunk, "the average")
            network.to(self.trainer.device)
            self.trainer.trunk.freezing.begin_training(network)
            update_batchnorm(network, self.data.loader, self.trainer.device, stop.check)
        distributed.broadcast_buffers(network)
        metrics = tests.score(network, stop, name=f"Average of {len(paths)}", epoch=-1)
        model_file = self._model_file(network, metrics)
        _write(self.folder.average, model_file._replace(weights=model_file.weights | loss))
        fewer = "" if len(paths) == count else f", all there are of {count}"
        self.log.say(f"{self.folder.average} is the average of {', '.join(paths)}{fewer}")

    def keep(self, source: str, folder: RunFolder, epoch: int) -> None:
        """Save one of these model files as the best one of another folder, with its card.

        epoch: the model's; -1: it is the average.
        """
        with distributed.errors_on_all_ranks():
            _write(folder.best, checkpoint.load_model(source))
        network = self.trainer.network
        write_model_card(
            folder.best, network, self.options, data=self.data, folder=folder, log=self.log, epoch=epoch
        )

    def keep_start(self, start: ModelFile, folder: RunFolder) -> str:
        """Save the file that training started from as the best one of another folder -> path of a copy."""
        if start.origin:  # complete, as `inferSpeakerNet.py convert` makes it
            network = SpeakerNet.from_model_file(start, self.options)
            options = start.options | dict(self.options)
            start = start._replace(options=options, normalize=network.normalize, origin="")
        copy = self.folder.models / "start.model"
        with distributed.errors_on_all_ranks():
            _write(copy, start)
            _write(folder.best, start)
        return str(copy)

    def _model_file(self, network: SpeakerNet, metrics: dict[str, float]) -> ModelFile:
        weights = self.trainer.state.whole_weights(network)
        weights = checkpoint.keep_classes(weights, self.data.num_classes, self.data.num_speakers)
        return ModelFile(
            weights, dict(self.options), self.data.utterances.speakers, network.normalize, metrics
        )


def _write(path: Path, model_file: ModelFile) -> None:
    if distributed.is_first():
        checkpoint.save_model(path, model_file)
