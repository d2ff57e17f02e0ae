"""Configuration of one training run; a checkpoint and a registered generator carry it.

A dotted key such as `generator.depth` names a field of `TrialConfig`.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from dexsearch.config.base import Config, first_problem
from dexsearch.errors import ConfigurationError


class Task(StrEnum):
    """The head of a generator: what it predicts, and which images come of that."""

    BONE = "bone"
    TISSUE = "tissue"
    JOINT = "joint"
    DERIVE = "derive"
    """Bone is predicted; tissue is computed from it by inverting the exposure model."""

    @property
    def predicted(self) -> tuple[str, ...]:
        """Names of the network's output channels, in order; the first of the `targets`."""
        return (Task.BONE.value,) if self is Task.DERIVE else self.targets

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the images that come out, and are scored and shown, in order."""
        both = self in (Task.JOINT, Task.DERIVE)
        return (Task.BONE.value, Task.TISSUE.value) if both else (self.value,)

    @property
    def registered_as(self) -> "Task":
        """The task under which generators of this head compete: `derive` counts as joint."""
        return Task.JOINT if self is Task.DERIVE else self


class GeneratorConfig(Config):
    """The U-Net."""

    depth: Annotated[int, Field(ge=1, le=8)] = 4
    """Number of downsamplings."""

    width: Annotated[int, Field(ge=1, le=256)] = 16
    """Channels of the first level; doubles with each level up to eight times."""

    norm: Literal["batch", "instance", "none"] = "batch"
    """Normalisation of the inner levels."""

    kernel_px: Annotated[int, Field(ge=2, le=7)] = 4
    """Side of the down- and upsampling kernels in pixels."""

    output: Literal["residual", "plain"] = "residual"
    """`residual` predicts a correction to a learned affine copy of the input."""

    input_normalization: Literal["absolute", "per_image"] = "absolute"
    """`absolute` uses the dataset's constants, `per_image` the z-score of each image."""


class DiscriminatorConfig(Config):
    """The PatchGAN."""

    patch_px: Literal[1, 16, 34, 70, 142, 286] = 34
    """Receptive field in pixels; 1 is a PixelGAN."""

    width: Annotated[int, Field(ge=1, le=256)] = 16
    """Channels of the first layer."""

    norm: Literal["batch", "instance", "none"] = "batch"
    """Normalisation of the inner layers."""

    spectral_norm: bool = False
    """Divide every kernel by its largest singular value, beside whatever `norm` does."""


class LossConfig(Config):
    """What the generator is asked to minimise."""

    adversarial: Literal["vanilla", "lsgan", "hinge", "none"] = "lsgan"
    """Adversarial loss; `none` trains on the other terms alone, without a discriminator."""

    l1_weight: Annotated[float, Field(ge=0, le=1e6)] = 100.0
    """Weight of the mean absolute error beside an adversarial loss of weight 1."""

    ssim_weight: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Weight of 1 - SSIM beside an adversarial loss of weight 1."""


class OptimizerConfig(Config):
    """Adam for both networks."""

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """Adam step size of the generator: its peak where a schedule changes it."""

    discriminator_ratio: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """The discriminator's step size divided by the generator's; two time scales where not 1."""

    schedule: Literal["constant", "cosine"] = "constant"
    """`cosine` lets both step sizes fall to nothing at the end of the run, whose length is then
    part of what is trained: such a run cannot be continued to another length."""

    warmup_epochs: Annotated[float, Field(ge=0, le=10_000)] = 0.0
    """Epochs, or a part of one, in which both step sizes rise evenly from nothing."""

    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Decay of Adam's first moment; 0.5 as in pix2pix."""


class ExposureConfig(Config):
    """Fresh exposures of the training views; validation and hold-out keep their stored ones."""

    resample: bool = False
    """A new exposure of the same anatomy in every epoch instead of the stored one."""

    dose_jitter: Annotated[float, Field(ge=0, le=3)] = 0.0
    """Each image's dose is multiplied by exp(uniform(-j, j)); 0.7 halves or doubles it."""

    kvp_jitter: Annotated[float, Field(ge=0, le=80)] = 0.0
    """Each batch's tube voltage is drawn evenly, in steps of 1 kVp, from those that lie within
    60..140 kVp and at most so far from the dataset's."""

    @model_validator(mode="after")
    def _jitter_what_is_exposed(self) -> Self:
        for name in ("dose_jitter", "kvp_jitter"):
            if getattr(self, name) > 0 and not self.resample:
                raise ValueError(
                    f"exposure.{name}={getattr(self, name)!r} changes nothing while "
                    f"exposure.resample is false; set exposure.resample to true or {name} to 0"
                )
        return self


class TrialConfig(Config):
    """One configuration of one training run, seed included."""

    task: Task = Task.JOINT
    """Head of the generator: joint | bone | tissue | derive (bone predicted, tissue computed)."""

    generator: GeneratorConfig = GeneratorConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    exposure: ExposureConfig = ExposureConfig()

    batch_size: Annotated[int, Field(ge=1, le=4096)] = 16
    """Images per optimiser step."""

    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.995
    """Decay of the generator's moving average, warmed up as min(decay, (1 + t) / (10 + t))."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of initial weights, batch order and fresh exposures."""

    @model_validator(mode="after")
    def _teach_the_generator_something(self) -> Self:
        loss = self.loss
        if loss.adversarial == "none" and loss.l1_weight == 0 and loss.ssim_weight == 0:
            raise ValueError(
                "loss.adversarial='none' with loss.l1_weight=0 and loss.ssim_weight=0 leaves "
                "nothing to learn; raise a weight or choose an adversarial loss"
            )
        return self


def trial_config(values: dict[str, Any]) -> TrialConfig:
    """Build a `TrialConfig` from dotted keys, for example `{"generator.depth": 4}`.

    Raises:
        ConfigurationError: on an unknown key or a value out of range.
    """
    nested: dict[str, Any] = {}
    for key, value in values.items():
        branch = nested
        *parents, leaf = key.split(".")
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[leaf] = value
    try:
        return TrialConfig.model_validate(nested)
    except ValidationError as error:
        raise ConfigurationError(first_problem(error, TrialConfig)) from None


def known_trial_keys(model: type[Config] = TrialConfig, prefix: str = "") -> tuple[str, ...]:
    """Return every dotted key that a space may fix or search."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Config):
            keys += known_trial_keys(inner, f"{prefix}{name}.")
        else:
            keys.append(prefix + name)
    return tuple(keys)
