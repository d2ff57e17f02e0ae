"""What a dataset is made of: the views, how they are exposed, and what the targets are.

The flags of `dexsearch data` and the YAML's `data.phantom` are these same fields.
"""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, ValidationError, model_validator

from dexsearch.config.base import Config, first_problem
from dexsearch.errors import ConfigurationError

XRAY_GAN_GRID = "xray-gan"
MOST_POSES = 10_000

EXPOSURE_KEYS = (
    "geometry",
    "kvp",
    "dose_mas",
    "scatter",
    "blur_mm",
    "electronic_noise_kev",
    "filters_mm",
    "pair_kvp",
    "target_dose_mas",
)

AnyConfig = TypeVar("AnyConfig", bound=Config)

Filter = Literal["aluminium", "copper", "tin"]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Dose = Annotated[float, Field(ge=1e-4, le=1e4)]
Millimetres = Annotated[float, Field(ge=0, le=50)]
TubeVoltage = Annotated[float, Field(ge=60, le=140)]
Poses = Annotated[int | str, AfterValidator(lambda poses: _number_or_grid(poses))]


class ImagingConfig(Config):
    """Detector, single-energy exposure and targets of simulated views."""

    size_px: Annotated[int, Field(ge=16, le=2048)] = 64
    """Side of the square detector in pixels."""

    geometry: Literal["parallel", "cone"] = "parallel"
    """Shape of the beam."""

    kvp: TubeVoltage = 120.0
    """Tube voltage of the input images."""

    dose_mas: Dose = 0.1
    """Tube current times time of one view."""

    scatter: Annotated[float, Field(ge=0, le=20)] = 0.0
    """Scatter-to-primary ratio: 0 none, 0.5 with a grid, 2 without one."""

    blur_mm: Millimetres = 0.0
    """Standard deviation of the detector's blur, measured at the isocentre."""

    electronic_noise_kev: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Standard deviation of a pixel's electronic noise, in absorbed energy."""

    filters_mm: dict[Filter, Millimetres] = {}
    """Filtration beyond the tube's own 2.5 mm of aluminium."""

    targets: Literal["basis", "wls", "xray-gan"] = "basis"
    """`basis`: thickness of bone and soft tissue in cm; `wls`: weighted log subtraction of two
    exposures; `xray-gan`: the recipe of xray_GAN for input and targets alike."""

    pair_kvp: tuple[TubeVoltage, TubeVoltage] = (60.0, 120.0)
    """Low and high tube voltage of the dual-energy targets."""

    target_dose_mas: Dose | None = None
    """Exposure of each of the two images behind a target; none: clean targets."""

    @model_validator(mode="after")
    def _low_before_high(self) -> Self:
        low, high = self.pair_kvp
        if not low < high:
            raise ValueError(f"pair_kvp {low:g},{high:g}: the first tube voltage is the lower one")
        return self

    @model_validator(mode="after")
    def _recipe_has_no_exposure(self) -> Self:
        for key in EXPOSURE_KEYS if self.targets == "xray-gan" else ():
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(
                    f"{key}={getattr(self, key)!r} has no meaning for targets xray-gan, which are "
                    "sums over CTs along parallel rays, without an exposure; leave it out"
                )
        return self

    def as_source(self) -> dict[str, Any]:
        """Return the settings that decide about the images, as JSON values."""
        unused = set(EXPOSURE_KEYS) if self.targets == "xray-gan" else set()
        return self.model_dump(mode="json", exclude=unused)


class PhantomDataConfig(ImagingConfig):
    """A cohort of procedural thoraxes, made on first use."""

    subjects: Annotated[int, Field(ge=1, le=100_000)] = 32
    """Number of anatomies; at least 32 for a verdict on the hold-out."""

    poses: Poses = 40
    """Views per subject, or `xray-gan`: its grid of 900."""

    seed: Seed = 0
    """Seed of the cohort."""

    preset: Literal["thorax", "cirs-like"] = "thorax"
    """`thorax`: adults that differ; `cirs-like`: the one plastic phantom of xray_GAN's kind."""

    @model_validator(mode="before")
    @classmethod
    def _one_plastic_body(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("preset") == "cirs-like":
            return {"subjects": 1, **values}
        return values

    @model_validator(mode="after")
    def _subjects_fit_the_preset(self) -> Self:
        if self.preset == "thorax" and self.subjects < 3:
            raise ValueError(
                f"subjects={self.subjects} cannot be split by subject; give at least 3"
            )
        if self.preset == "cirs-like" and self.subjects != 1:
            raise ValueError(
                f"subjects={self.subjects}, but the cirs-like phantom is one body; leave it out"
            )
        return self

    @property
    def folder_name(self) -> str:
        """A name for the dataset that tells what differs; settings off their default by a hash."""
        name = f"phantom-{self.subjects}x{self.poses}-{self.size_px}px-seed{self.seed}"
        named = {"subjects", "poses", "size_px", "seed"}
        others = self.model_dump_json(exclude_defaults=True, exclude=named)
        if others == "{}":
            return name
        return f"{name}-{hashlib.sha256(others.encode()).hexdigest()[:8]}"


class CtDataConfig(ImagingConfig):
    """Views of one or more CTs."""

    poses: Poses = 60
    """Turns over 0..175 degrees, or `xray-gan`: its grid of 900 poses."""

    seed: Seed = 0
    """Decides small tilts, split and noise."""

    same_patient: bool = False
    """The CTs are one patient at several tube voltages, not several patients."""

    ct_kvp: tuple[TubeVoltage, ...] = ()
    """Tube voltages of the CTs, one for all or one each; none: from DICOM, else 120."""

    parity: bool = False
    """Rotate with xray_GAN's three scipy calls, for comparison; slow."""

    @model_validator(mode="after")
    def _parity_is_parallel(self) -> Self:
        if self.parity and self.geometry == "cone":
            raise ValueError("parity turns the volume and sums it; use geometry parallel")
        return self


def _number_or_grid(poses: int | str) -> int | str:
    if poses == XRAY_GAN_GRID or (isinstance(poses, int) and 1 <= poses <= MOST_POSES):
        return poses
    raise ValueError(
        f"got {poses!r}; give a number of views from 1 to {MOST_POSES}, or {XRAY_GAN_GRID}"
    )


FLAGS = {
    "size_px": "size",
    "dose_mas": "dose",
    "blur_mm": "blur",
    "electronic_noise_kev": "electronic_noise",
    "filters_mm": "filter",
    "pair_kvp": "pair",
    "target_dose_mas": "target_dose",
}
"""Fields whose flag has another name."""
FIELDS = {*PhantomDataConfig.model_fields, *CtDataConfig.model_fields}


def checked(model: type[AnyConfig], values: Mapping[str, Any]) -> AnyConfig:
    """Build a configuration from flags; those that were not given (None) keep their default.

    Raises:
        ConfigurationError: naming the flag, what was given and what is allowed.
    """
    try:
        return model.model_validate({k: v for k, v in values.items() if v is not None})
    except ValidationError as error:
        key, colon, text = first_problem(error, model).partition(":")
        name = key.partition(".")[0]
        flag = f"--{FLAGS.get(name, name).replace('_', '-')}" if colon and name in FIELDS else key
        raise ConfigurationError(f"{flag}{colon}{text}") from None
