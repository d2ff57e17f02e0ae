"""What `dexsearch predict` does: a model and images in, bone and tissue images out."""

from pathlib import Path

from dexsearch import DISCLAIMER
from dexsearch.errors import DataError
from dexsearch.inference.package import WEIGHTS
from dexsearch.jobs.models import open_model
from dexsearch.jobs.predict_files import KINDS, Item, folder_items, single_item
from dexsearch.jobs.predict_input import Notes, Tell
from dexsearch.jobs.predict_journal import JOURNAL_NAME, Journal
from dexsearch.jobs.predict_one import Options, Progress, Work, predict_item
from dexsearch.jobs.predict_output import Maker
from dexsearch.jobs.predict_result import Failure, Prediction, Predictions
from dexsearch.registry.record import read_registry

__all__ = ["KINDS", "Options", "Prediction", "Predictions", "predict_folder", "predict_image"]


def predict_image(
    model: str, image_path: Path, output: Path, *, workspace: Path, tell: Tell,
    options: Options | None = None, progress: Progress = lambda done, total: None,
) -> Prediction:  # fmt: skip
    """Predict the targets of one image and write them as files of its own kind.

    Args:
        model: `name@alias`, `name/version`, `name` (its champion), or a package folder.
        image_path: .npy in the unit of the training inputs, or a grey .png, .tif or DICOM image.
        output: a folder, where files are named after the input; or a path that ends in .npy,
            .png, .tif or .dcm, which gives the stem of the files' names.
        workspace: where the registry is.
        tell: is given what the user should know, one line each.
        options: how.
        progress: is called with the tiles that are done and their number.

    Raises:
        NotRegistered: if the registry holds no such model.
        DataError: if the package or the image cannot be used; nothing is written.
        EnvironmentFault: if the output cannot be written.
    """
    item = single_item(image_path, output)
    work = _begun(model, workspace, item.stem.parent, (item,), tell, options or Options())
    try:
        done = predict_item(item, work, progress)
    finally:
        work.journal.close()
    if done.skipped:
        tell(f"{item.name}: these weights have predicted it already; nothing was written")
    tell(DISCLAIMER)
    return done


def predict_folder(
    model: str, folder: Path, output: Path, *, workspace: Path, tell: Tell,
    options: Options | None = None, progress: Progress = lambda done, total: None,
) -> Predictions:  # fmt: skip
    """Predict every image in a folder and its subfolders; those that cannot be are named.

    What is done already is passed over, so the same command continues.

    Args:
        model: as for `predict_image`.
        folder: searched with all its subfolders.
        output: another folder, with the same subfolders.
        workspace: where the registry is.
        tell: is given what the user should know, one line each.
        options: how.
        progress: is called with the images that are done and their number.

    Raises:
        NotRegistered: if the registry holds no such model.
        ConfigurationError: if the output is the folder itself or a file.
        DataError: if the package cannot be used, or the folder has no image.
        EnvironmentFault: if the output cannot be written.
    """
    items, n_others = folder_items(folder, output)
    work = _begun(model, workspace, output, items, tell, options or Options())
    if n_others:
        tell(f"{folder}: {n_others} of {n_others + len(items)} files are no images and left out")
    done: list[Prediction] = []
    failed: list[Failure] = []
    try:
        for number, item in enumerate(items, start=1):
            try:
                done.append(predict_item(item, work, lambda done, total: None))
            except DataError as error:
                tell(f"error: {error}" + (f" ({error.hint})" if error.hint else ""))
                failed.append(Failure(item.source, str(error)))
            progress(number, len(items))
    finally:
        work.journal.close()
    work.notes.finish()
    result = Predictions(model, work.package.card, work.package.sha256, tuple(done), tuple(failed))
    tell(f"{result.summary}; {output / JOURNAL_NAME} says what was made from what")
    tell(DISCLAIMER)
    return result


def _begun(
    model: str, workspace: Path, output: Path, items: tuple[Item, ...], tell: Tell,
    options: Options,
) -> Work:  # fmt: skip
    package = open_model(model, workspace)
    card, versions = package.card, read_registry(workspace).versions
    names = [f"{v.name} version {v.version}" for v in versions if v.sha256 == package.sha256]
    name = names[0] if names else f"dexsearch-{card.task} of {card.study}, trial {card.trial}"
    maker = Maker(card, name, package.files[WEIGHTS])
    sources = frozenset(item.source.resolve() for item in items)
    return Work(model, package, maker, options, Notes(tell), Journal(output), sources)
