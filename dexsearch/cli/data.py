"""The commands `data phantom`, `data ct`, `data import`, `data show` and `data info`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from dexsearch.cli.options import DEFAULT_WORKSPACE, FormatOption, OutputFormat, WorkspaceOption
from dexsearch.cli.output import note, print_result, progress_bar

data_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Make, import, show and describe datasets."
)

OutArgument = Annotated[Path, typer.Argument(help="Dataset folder to make.", metavar="OUT")]
DatasetArgument = Annotated[
    Path, typer.Argument(help="Dataset folder, or its name in the workspace.", metavar="DATASET")
]
SizeOption = Annotated[
    int, typer.Option("--size", min=16, max=2048, metavar="PX", help="Side of the images.")
]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]
KvpOption = Annotated[float, typer.Option(help="Tube voltage of the input images, 60..140.")]
DoseOption = Annotated[float, typer.Option("--dose", metavar="MAS", help="Exposure per view.")]
GeometryOption = Annotated[Literal["parallel", "cone"], typer.Option(help="Shape of the beam.")]
ScatterOption = Annotated[
    float,
    typer.Option(min=0, help="Scatter-to-primary ratio: 0 none, 0.5 with a grid, 2 without."),
]


@data_app.command()
def phantom(
    out: OutArgument,
    subjects: Annotated[int, typer.Option(min=3, help="Number of anatomies.")] = 32,
    poses: Annotated[int, typer.Option(min=1, help="Views per subject.")] = 40,
    size: SizeOption = 64,
    seed: SeedOption = 0,
    kvp: KvpOption = 120.0,
    dose: DoseOption = 0.1,
    geometry: GeometryOption = "parallel",
    scatter: ScatterOption = 0.0,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Make a cohort of procedural thoraxes: input, bone and tissue images of each view.

    Example: dexsearch data phantom workspace/datasets/cohort --subjects 32 --poses 40
    """
    from dexsearch.config.data import PhantomDataConfig
    from dexsearch.jobs.data import Beam, describe, make_phantom

    cohort = PhantomDataConfig(subjects=subjects, poses=poses, size_px=size, seed=seed)
    beam = Beam(kvp=kvp, dose_mas=dose, geometry=geometry, scatter=scatter)
    with progress_bar("views") as progress:
        dataset = make_phantom(out, cohort, beam=beam, progress=progress)
    print_result(describe(dataset, with_baselines=False), output_format)
    note(f"next: dexsearch data show {out}")


@data_app.command()
def ct(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="CT volumes in Hounsfield units (NIfTI), each of another patient.",
            metavar="SRC...",
        ),
    ],
    out: OutArgument,
    poses: Annotated[
        str, typer.Option(metavar="N|xray-gan", help="Views per CT, or the grid of 900 poses.")
    ] = "60",
    size: SizeOption = 64,
    seed: SeedOption = 0,
    kvp: KvpOption = 120.0,
    ct_kvp: Annotated[float, typer.Option(help="Tube voltage of the CT scanner.")] = 120.0,
    dose: DoseOption = 0.1,
    geometry: GeometryOption = "parallel",
    scatter: ScatterOption = 0.0,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Make input, bone and tissue images from CT volumes.

    Example: dexsearch data ct chest.nii.gz workspace/datasets/chest --poses 120
    """
    from dexsearch.jobs.data import Beam, describe, make_from_ct

    beam = Beam(kvp=kvp, dose_mas=dose, geometry=geometry, scatter=scatter)
    with progress_bar("views") as progress:
        dataset = make_from_ct(
            out, sources, poses=poses, size_px=size, seed=seed, ct_kvp=ct_kvp, beam=beam,
            progress=progress,
        )  # fmt: skip
    print_result(describe(dataset, with_baselines=False), output_format)
    note(f"next: dexsearch data show {out}")


@data_app.command(name="import")
def import_(
    source: Annotated[
        Path, typer.Argument(help="Folder that holds the three image folders.", metavar="SRC")
    ],
    out: OutArgument,
    size: SizeOption = 256,
    input_dir: Annotated[
        Path | None, typer.Option(help="Folder of single-energy images, if its name is not known.")
    ] = None,
    bone_dir: Annotated[Path | None, typer.Option(help="Folder of bone images.")] = None,
    tissue_dir: Annotated[Path | None, typer.Option(help="Folder of soft-tissue images.")] = None,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Import pairs of one volume as xray_GAN writes them: x_y_z.npy in three folders.

    Example: dexsearch data import xray_gan_output workspace/datasets/imported
    """
    from dexsearch.jobs.data import describe, import_dataset

    with progress_bar("images") as progress:
        dataset = import_dataset(
            out, source, size_px=size, input_dir=input_dir, bone_dir=bone_dir,
            tissue_dir=tissue_dir, progress=progress,
        )  # fmt: skip
    print_result(describe(dataset, with_baselines=False), output_format)
    note(f"next: dexsearch data show {out}")


@data_app.command()
def show(
    dataset: DatasetArgument,
    out: Annotated[
        Path | None, typer.Option(help="PNG to write; otherwise beside the dataset folder.")
    ] = None,
    images: Annotated[int, typer.Option(min=1, max=8, help="Number of columns.")] = 8,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Write a contact sheet: the same views as input, bone and tissue.

    Example: dexsearch data show workspace/datasets/cohort --out sheet.png
    """
    from dexsearch.jobs.data import open_named, show_dataset

    sheet = show_dataset(open_named(dataset, workspace), out, n_images=images)
    print_result(sheet, output_format)


@data_app.command()
def info(
    dataset: DatasetArgument,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Print counts, split, digest, and what the baselines score on validation images.

    Example: dexsearch data info workspace/datasets/cohort --format json
    """
    from dexsearch.jobs.data import describe, open_named

    found = describe(open_named(dataset, workspace), with_baselines=True)
    print_result(found, output_format)
