"""Hash the files of foreign pairs: one hash for the import, and images that are there twice."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dexsearch.data.foreign import ForeignPair
from dexsearch.durable import file_sha256


def hash_files(pairs: Sequence[ForeignPair]) -> dict[Path, str]:
    """Return the sha256 of every file; reads every byte."""
    return {path: file_sha256(path) for pair in pairs for path in pair.paths().values()}


def content_sha256(pairs: Sequence[ForeignPair], hashes: Mapping[Path, str]) -> str:
    """Return one hash over all files, whose they are and their poses, wherever they lie."""
    whole = hashlib.sha256()
    for pair in pairs:
        files = [(kind, hashes[path]) for kind, path in pair.paths().items()]
        whole.update(repr((pair.subject, pair.pose_deg, pair.name, files)).encode())
    return whole.hexdigest()


def notes_on_twins(pairs: Sequence[ForeignPair], hashes: Mapping[Path, str]) -> Iterator[str]:
    """Yield one line where different subjects have the same input file, byte by byte."""
    owners: dict[str, ForeignPair] = {}
    twins = [
        (first, pair)
        for pair in pairs
        if (first := owners.setdefault(hashes[pair.input], pair)).subject != pair.subject
    ]
    if twins:
        first, second = twins[0]
        yield (
            f"warning: {len(twins)} input(s) are copies of another subject's, such as "
            f"{second.input} of {first.input}; a copy in another subset makes scores look better "
            "than they are"
        )
