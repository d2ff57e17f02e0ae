"""The command `predict`."""

from pathlib import Path
from typing import Annotated

import typer

from dexsearch.cli.options import DEFAULT_WORKSPACE, FormatOption, OutputFormat, WorkspaceOption
from dexsearch.cli.output import note, print_result
from dexsearch.wording import printable


def predict(
    model: Annotated[
        str, typer.Argument(help="name@alias, name/version, name, or a downloaded folder.")
    ],
    image: Annotated[
        Path, typer.Argument(metavar="IN", help="One image: .npy (log units), PNG, TIFF or DICOM.")
    ],
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder for the images, or PATH/STEM.npy.")
    ],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Predict the bone and the tissue image of one X-ray image of any size.

    Example: dexsearch predict dexsearch-joint@champion chest.npy predicted
    """
    from dexsearch.jobs.predict import predict_image

    done = predict_image(
        model, image, output, workspace=workspace, tell=lambda text: note(printable(text))
    )
    print_result(done, output_format)
