"""Write the arrays of a dataset folder batch by batch, going on where an earlier run stopped."""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from dexsearch.data.array_stream import ArrayStream
from dexsearch.data.image_info import ImageInfo
from dexsearch.data.journal import LEFT_OUT, Journal, JournalEntry, LeftOut
from dexsearch.data.partial import PartialFolder
from dexsearch.data.samples import (
    Layout,
    Sample,
    layout_of,
    refusal_of_view,
    refuse_unlike,
)
from dexsearch.data.splits import SUBSETS, Pose, Split, Subset
from dexsearch.durable import flush_folder
from dexsearch.errors import DataError, EnvironmentFault

BatchesFrom = Callable[[int], Iterable[Sequence[Sample]]]
"""Given the number of batches that are on the disk already, yields all later ones in order.

The same request yields the same batches, however often it is asked; a batch may be empty.
"""


@dataclass(frozen=True, slots=True)
class Written:
    """What the arrays of a finished folder hold."""

    layout: Layout
    images: dict[str, tuple[ImageInfo, ...]]
    left_out: dict[str, int]


def write_arrays(
    partial: PartialFolder,
    batches: BatchesFrom,
    split: Split,
    *,
    units: Mapping[str, str],
    leave_out_unusable: bool,
    n_expected: int | None = None,
) -> Written:
    """Write the arrays of every subset, going on after the batches in the folder's journal.

    Raises:
        DataError: on an image that is not usable, given twice, or unlike the others; on a subset
            that stays empty.
        EnvironmentFault: if `batches` cannot read a file, repeats what an earlier run has
            written, or does not give as many images as expected; the last two discard the folder.
        OSError: if the disk refuses.
    """
    with Journal(partial.journal) as journal, ExitStack() as stack:
        writer = _ArrayWriter(partial, journal, split, units, leave_out_unusable)
        stack.callback(writer.let_go)
        writer.open_files()
        # Closing ends the workers at once when writing fails.
        with closing(_told_apart(batches, len(journal.contents.batches))) as later:
            for batch in later:
                writer.write_batch(batch)
        return writer.finish(n_expected)


def _told_apart(batches: BatchesFrom, n_done: int) -> Generator[Sequence[Sample], None, None]:
    """Yield the later batches; what their maker cannot read is no fault of the dataset's disk."""
    try:
        yield from batches(n_done)
    except OSError as error:
        raise EnvironmentFault(
            f"cannot make the images: {error}",
            hint="check that what they are made from can be read; the same command continues",
        ) from error


class _ArrayWriter:
    """The open array files of one partial folder, and what has gone into them."""

    def __init__(
        self,
        partial: PartialFolder,
        journal: Journal,
        split: Split,
        units: Mapping[str, str],
        leave_out_unusable: bool,
    ) -> None:
        self._partial = partial
        self._journal = journal
        self._split = split
        self._units = units
        self._leave_out_unusable = leave_out_unusable
        self._entries = list(journal.contents.entries)
        self._earlier = frozenset(_key(entry.info) for entry in self._entries)
        self._seen = set(self._earlier)
        self._streams: dict[tuple[str, str], ArrayStream] = {}
        self._layout = journal.contents.layout

    def open_files(self) -> None:
        """Open the files of the batches that are in the journal."""
        if self._layout:
            self._open_streams(self._layout)

    def write_batch(self, batch: Sequence[Sample]) -> None:
        """Append the images of a batch, and record it once they are on the disk."""
        if batch and self._layout is None:
            self._layout = layout_of(batch[0], self._units)
            self._open_streams(self._layout)
            if self._partial.is_kept:
                self._journal.write_layout(self._layout)
        entries = [self._write(sample) for sample in batch]
        self._entries += entries
        if self._partial.is_kept:
            for stream in self._streams.values():
                stream.flush()
            self._journal.write_batch(entries)

    def finish(self, n_expected: int | None) -> Written:
        """Close the files and return what they hold."""
        if n_expected not in (None, len(self._entries)):
            self._give_up(f"{len(self._entries)} of {n_expected} images arrived")
        images: dict[str, tuple[ImageInfo, ...]] = {
            subset: tuple(entry.info for entry in self._entries if entry.place == subset)
            for subset in SUBSETS
        }
        empty = [subset for subset in SUBSETS if not images[subset]]
        if empty or self._layout is None:
            raise DataError(
                f"{len(self._entries)} images leave the {empty[0]} subset without any",
                hint="give more images",
            )
        for stream in self._streams.values():
            stream.close()
        places = Counter(entry.place for entry in self._entries)
        left_out: dict[str, int] = {reason: places[reason] for reason in LEFT_OUT}
        return Written(self._layout, images, left_out)

    def let_go(self) -> None:
        """Close the files as they are."""
        for stream in self._streams.values():
            with suppress(OSError):  # a full disk refuses what is still buffered once more
                stream.__exit__(Exception, None, None)

    def _write(self, sample: Sample) -> JournalEntry:
        if self._layout is None:
            raise DataError("got an image before the layout of the dataset was known")
        refuse_unlike(sample, self._layout)
        if _key(sample.info) in self._earlier:
            self._give_up(f"image {sample.label} arrives again, written by an interrupted run")
        if _key(sample.info) in self._seen:
            raise DataError(f"image {sample.label} is given twice", hint="remove one of them")
        self._seen.add(_key(sample.info))
        place = self._place(sample)
        if place in SUBSETS:
            for name in self._layout.arrays:
                image = sample.image(name)
                if image is not None:
                    self._streams[place, name].append(image)
        return JournalEntry(sample.info, place)

    def _give_up(self, reason: str) -> NoReturn:
        """Discard what is written: a task is missing or in another place, nobody knows which."""
        self._partial.discard()
        raise EnvironmentFault(
            f"{reason}: what makes them lost a part, or changed the order of the parts",
            hint="give the same command again, it starts anew; on a cluster, look at its log",
        )

    def _place(self, sample: Sample) -> Subset | LeftOut:
        refusal = refusal_of_view(sample)
        if refusal is not None and not self._leave_out_unusable:
            raise refusal
        subset = self._split.subset(sample.subject, sample.pose_deg)
        if subset is None:
            return "guard_band"
        return subset if refusal is None else "unusable"

    def _open_streams(self, layout: Layout) -> None:
        counts = Counter(entry.place for entry in self._entries)
        for subset in SUBSETS:
            folder = self._partial.path / subset
            folder.mkdir(exist_ok=True)
            for name, dtype in layout.arrays.items():
                self._streams[subset, name] = _open_stream(
                    folder / f"{name}.npy", layout.size_px, dtype, counts[subset]
                )
            if self._partial.is_kept:
                flush_folder(folder)


def _open_stream(path: Path, size_px: tuple[int, int], dtype: str, n_images: int) -> ArrayStream:
    try:
        return ArrayStream(path, size_px, dtype, n_images=n_images)
    except (ValueError, FileNotFoundError) as error:
        raise EnvironmentFault(
            f"{path} is not as its journal says: {error}",
            hint=f"remove {path.parents[1]} and give the same command again",
        ) from None


def _key(info: ImageInfo) -> tuple[str, Pose, str]:
    return info.subject, info.pose_deg, info.name
