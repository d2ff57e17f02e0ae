"""The command `predict`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from dexsearch.cli.options import DEFAULT_WORKSPACE, FormatOption, OutputFormat, WorkspaceOption
from dexsearch.cli.output import note, print_result, progress_bar
from dexsearch.wording import printable


def predict(
    model: Annotated[
        str, typer.Argument(help="name@alias, name/version, name, or a downloaded folder.")
    ],
    image: Annotated[
        Path,
        typer.Argument(
            metavar="IN",
            help="An image: .npy (log units), PNG, TIFF or DICOM; or a folder of them, searched "
            "with its subfolders.",
        ),
    ],
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder for the images, or PATH/STEM.npy.")
    ],
    kind: Annotated[
        Literal["same", "npy", "png", "tiff", "dicom"],
        typer.Option(help="Kind of the files written; same: that of each input."),
    ] = "same",
    compare: Annotated[
        bool, typer.Option("--compare", help="Write input, bone and tissue side by side, too.")
    ] = False,
    pixel_mm: Annotated[
        float | None,
        typer.Option(min=0.001, max=100, metavar="MM", help="Pixel size, if IN lacks it."),
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Predict the bone and the tissue image of X-ray images of any size.

    The same command continues where it stopped. Not for diagnosis.

    Example: dexsearch predict dexsearch-joint@champion chest.dcm predicted --compare
    """
    from dexsearch.jobs.predict import Options, predict_folder, predict_image

    work = predict_folder if image.is_dir() else predict_image
    with progress_bar("images" if image.is_dir() else "tiles") as progress:
        done = work(
            model, image, output, workspace=workspace, tell=lambda text: note(printable(text)),
            options=Options(kind, compare, pixel_mm), progress=progress,
        )  # fmt: skip
    print_result(done, output_format)
    done.refuse_failures()
