"""The trial function of a real search: open the dataset once, then train what is assigned."""

from collections.abc import Iterator

import torch

from dexsearch.config.trial import Task, TrialConfig
from dexsearch.data.pairs import TrainingData, load_training_data
from dexsearch.search.data_source import DataSource
from dexsearch.search.trial import Assignment, Record, failure_of
from dexsearch.training.device import take_share, training_device
from dexsearch.training.latency import latency_ms
from dexsearch.training.loop import train
from dexsearch.training.memory import training_memory_bytes


class TrainingTrials:
    """Trains assigned configurations on one dataset, which it loads in the worker."""

    keeps_checkpoints = True
    """Whoever has trained a trial to its end has saved it."""

    def __init__(self, source: DataSource, *, cpus: int, measure_latency: bool = False) -> None:
        """With `measure_latency`, the record of epoch 1 has the generator's `latency_ms`."""
        self.source = source
        self._measure_latency = measure_latency
        self._cpus = cpus
        self._data: dict[Task, TrainingData] = {}

    def from_source(self, source: DataSource) -> "TrainingTrials":
        """Return the same with another source."""
        return TrainingTrials(source, cpus=self._cpus, measure_latency=self._measure_latency)

    def __call__(self, assignment: Assignment) -> Iterator[Record]:
        """Yield the record of each epoch, those of an earlier process first."""
        torch.set_num_threads(self._cpus)
        config = TrialConfig.model_validate(assignment.config)
        device = training_device()
        take_share(device, assignment.gpu_share)
        if config.task not in self._data:
            self._data[config.task] = load_training_data(self.source.open(), config.task, device)
        data = self._data[config.task]
        height, width = data.validation.input.shape[-2:]
        try:
            for record in train(
                config,
                data,
                epochs=assignment.epochs,
                device=device,
                checkpoints=assignment.checkpoints,
                rank=(assignment.token, assignment.attempt),
            ):
                values = record.as_dict()
                if self._measure_latency and record.epoch == 1:
                    values["latency_ms"] = latency_ms(config, (height, width), device)
                yield values
        except Exception as error:
            if failure_of(error).kind == "memory":
                n_images = len(data.train.input) + len(data.validation.input)
                need = training_memory_bytes(
                    config, (height, width), n_images=n_images, device_type=device.type
                )
                error.add_note(f"by estimate this configuration needs {need / 2**30:.2f} GiB")
            raise
