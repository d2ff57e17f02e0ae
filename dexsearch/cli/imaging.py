"""Flags of `data phantom` and `data ct` that say how views are made; see `config.data`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from dexsearch.errors import ConfigurationError

SCATTER = {"none": 0.0, "grid": 0.5, "no-grid": 2.0}
"""Presets of `physics.exposure`, which would cost the command line its quick start."""
FILTERS = {"al": "aluminium", "cu": "copper", "sn": "tin"}

SizeOption = Annotated[
    int, typer.Option("--size", min=16, max=2048, metavar="PX", help="Side of the images.")
]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]
PosesOption = Annotated[
    str | None, typer.Option(metavar="N|xray-gan", help="Views per volume, or xray_GAN's 900.")
]
KvpOption = Annotated[float, typer.Option(help="Tube voltage of the input images, 60..140.")]
DoseOption = Annotated[float, typer.Option("--dose", metavar="MAS", help="Exposure per view.")]
GeometryOption = Annotated[Literal["parallel", "cone"], typer.Option(help="Shape of the beam.")]
ScatterOption = Annotated[
    str,
    typer.Option(metavar="none|grid|no-grid|RATIO", help="Scatter-to-primary ratio: 0, 0.5, 2."),
]
BlurOption = Annotated[
    float, typer.Option("--blur", metavar="MM", help="Blur of the detector, standard deviation.")
]
ElectronicNoiseOption = Annotated[
    float, typer.Option("--electronic-noise", metavar="KEV", help="Noise of a pixel, in keV.")
]
FilterOption = Annotated[
    list[str] | None,
    typer.Option("--filter", metavar="cu=0.1", help="Extra filter: al, cu or sn and its mm."),
]
TargetsOption = Annotated[
    Literal["basis", "wls", "xray-gan"],
    typer.Option(help="Targets: thickness in cm, weighted subtraction, or xray_GAN's recipe."),
]
PairOption = Annotated[
    str, typer.Option(metavar="LOW,HIGH", help="Tube voltages of the dual-energy targets.")
]
TargetDoseOption = Annotated[
    float | None,
    typer.Option(metavar="MAS", help="Noisy targets: exposure of each image behind them."),
]
SplitFileOption = Annotated[
    Path | None, typer.Option(help="JSON or YAML file that fixes train, validation, holdout.")
]
AddressOption = Annotated[
    str | None, typer.Option(envvar="RAY_ADDRESS", help="A Ray cluster that shares the work.")
]


def config_values(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a data configuration from a command's arguments by their names."""
    return {
        "poses": poses_of(flags["poses"]),
        "size_px": flags["size"],
        "seed": flags["seed"],
        "kvp": flags["kvp"],
        "dose_mas": flags["dose"],
        "geometry": flags["geometry"],
        "scatter": scatter_of(flags["scatter"]),
        "blur_mm": flags["blur"],
        "electronic_noise_kev": flags["electronic_noise"],
        "filters_mm": filters_of(flags["filters"]),
        "targets": flags["targets"],
        "pair_kvp": pair_of(flags["pair"]),
        "target_dose_mas": flags["target_dose"],
    }


def poses_of(text: str | None) -> int | str | None:
    """Return a number of views, or the name of a grid; the configuration checks it."""
    return int(text) if text is not None and text.isdigit() else text


def scatter_of(text: str) -> float:
    """Return the scatter-to-primary ratio of a preset's name or a number.

    Raises:
        ConfigurationError: if it is neither.
    """
    try:
        return SCATTER[text] if text in SCATTER else float(text)
    except ValueError:
        raise ConfigurationError(
            f"got --scatter {text!r}; give {', '.join(SCATTER)}, or a ratio such as 0.8"
        ) from None


def filters_of(texts: list[str] | None) -> dict[str, float]:
    """Return filter thicknesses in mm by material, from `cu=0.1`.

    Raises:
        ConfigurationError: on another metal or form.
    """
    filters: dict[str, float] = {}
    for text in texts or []:
        metal, _, thickness = text.partition("=")
        try:
            material, mm = FILTERS[metal], float(thickness)
        except (KeyError, ValueError):
            raise ConfigurationError(
                f"got --filter {text!r}; give al, cu or sn and millimetres, such as cu=0.1"
            ) from None
        if material in filters:
            raise ConfigurationError(
                f"got --filter {metal} twice; add the thicknesses up and give each metal once"
            )
        filters[material] = mm
    return filters


def kvps_of(text: str | None, flag: str) -> tuple[float, ...] | None:
    """Return tube voltages written as `80,140`.

    Raises:
        ConfigurationError: if one is no number.
    """
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigurationError(
            f"got {flag} {text!r}; give tube voltages with commas, such as 80,140"
        ) from None


def pair_of(text: str) -> tuple[float, float]:
    """Return the low and the high tube voltage.

    Raises:
        ConfigurationError: if there are not two numbers, the lower one first.
    """
    voltages = kvps_of(text, "--pair") or ()
    if len(voltages) != 2 or not voltages[0] < voltages[1]:
        raise ConfigurationError(
            f"got --pair {text!r}; give the low and the high tube voltage, such as 60,120"
        )
    return voltages[0], voltages[1]
