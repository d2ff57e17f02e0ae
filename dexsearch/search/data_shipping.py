"""How the images of a search reach the nodes of a cluster; after joining it.

The driver puts each array of the training and validation images into Ray's object store, where
the small references travel with the trials. The first trial of a node that asks for an array has
Ray bring it over; the others of that node map the same memory. A node that sees the dataset's
folder, byte for byte, uses that instead. The hold-out stays where it is.
"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray._private import worker as ray_worker
from ray.exceptions import ObjectStoreFullError, OutOfDiskError, RayError

from dexsearch.data.dataset import OPEN_SUBSETS, Dataset, open_dataset
from dexsearch.data.manifest import EDGES, Manifest
from dexsearch.data.pairs import SubsetImages
from dexsearch.data.splits import Subset
from dexsearch.errors import DataError, EnvironmentFault
from dexsearch.search.data_source import ArrayTable, DataSource, FolderSource, array_name
from dexsearch.search.preflight_asking import Questions, ask_nodes
from dexsearch.search.preflight_room import living_nodes

_PART_OF_STORE = 0.5
"""Of the driver's object store that images may fill when the folder could do as well."""

_DISK_KEPT_FREE = 0.05
"""Part of a disk below which Ray does not spill, `local_fs_capacity_threshold`."""

_ANSWER_S = 60.0
"""How long the nodes may take to look at the folder."""

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class ObjectStoreSource:
    """Images in Ray's object store, unless this machine sees the dataset's folder itself."""

    folder: FolderSource
    manifest: "ray.ObjectRef[Manifest]"
    references: "dict[str, ray.ObjectRef[Any]]"
    """Each array by its name, as `array_name` says it."""

    def open(self) -> SubsetImages:
        """Return the images: of the folder, else those that the driver sent, without a copy.

        Raises:
            EnvironmentFault: if Ray does not bring them to this machine.
        """
        try:
            return self.folder.open()
        except DataError as error:
            return self._received(why=str(error))

    def _received(self, *, why: str) -> SubsetImages:
        """Return the images that the driver sent; `why` the folder will not do."""
        names = list(self.references)
        try:
            manifest, *arrays = ray.get([self.manifest, *self.references.values()])
        except RayError as error:
            raise EnvironmentFault(
                f"{why}; and Ray does not bring the images here: "
                f"{type(error).__name__}: {str(error).splitlines()[0]}",
                hint="give the nodes more object store, or a folder that all of them see",
            ) from None
        return ArrayTable(manifest, dict(zip(names, arrays, strict=True)))


def shipped(folder: FolderSource) -> DataSource:
    """Return a source that every node of the cluster can open, later ones if possible too.

    What fits well into the driver's object store is put there, so that nodes may join which do
    not see the folder. What does not is taken from the folder where every node sees it.

    Raises:
        DataError: if the dataset cannot be used here.
        EnvironmentFault: if nodes lack the folder and the store and its disk are too small.
    """
    dataset = open_dataset(folder.path)
    n_bytes, store = open_bytes(dataset.manifest), _store_bytes()
    if n_bytes > _PART_OF_STORE * store:
        without = nodes_without(folder)
        if not without:
            return folder
        refuse_too_many(n_bytes, store, without, spill_folder=_spill_folder())
    try:
        return _put(dataset, folder)
    except (ObjectStoreFullError, OutOfDiskError) as error:
        raise EnvironmentFault(
            f"Ray's object store does not take the {n_bytes // _MIB} MiB of images: "
            f"{type(error).__name__}",
            hint=_HINT,
        ) from None


def open_bytes(manifest: Manifest) -> int:
    """Return the size of all training and validation arrays."""
    height, width = manifest.size_px
    per_image = sum(np.dtype(kind).itemsize for kind in manifest.arrays.values()) * height * width
    return per_image * sum(len(manifest.images[subset]) for subset in OPEN_SUBSETS)


def nodes_without(folder: FolderSource) -> list[str]:
    """Return the names of the nodes that do not see the folder; one without an answer is one."""
    questions = Questions(folder.path, folder.digest, place=None, secret="", longest_s=_ANSWER_S)
    reports = ask_nodes(living_nodes(), questions)
    return [report.name for report in reports if not report.sees_dataset]


_HINT = (
    "put the dataset into a folder that every node sees under the same path, or start the "
    "driver's node with a larger `ray start --object-store-memory BYTES`"
)


def refuse_too_many(n_bytes: int, store: int, without: list[str], *, spill_folder: Path) -> None:
    """Refuse what the driver's object store cannot hold even where it spills to its disk.

    Args:
        n_bytes: size of the images.
        store: size of the object store in bytes.
        without: names of the nodes that need it.
        spill_folder: where the store spills to.

    Raises:
        EnvironmentFault: with the sizes and what to do.
    """
    disk = shutil.disk_usage(spill_folder)
    free = max(0, int(disk.free - _DISK_KEPT_FREE * disk.total))
    if n_bytes > store + free:
        raise EnvironmentFault(
            f"{', '.join(without)}: the dataset's folder is not there, and its "
            f"{n_bytes // _MIB} MiB do not fit into the object store of the driver's node "
            f"({store // _MIB} MiB) with the {free // _MIB} MiB that it may spill to disk",
            hint=_HINT,
        )


def _put(dataset: Dataset, folder: FolderSource) -> ObjectStoreSource:
    references = {
        array_name(subset, name): ray.put(np.asarray(array))
        for subset in OPEN_SUBSETS
        for name, array in arrays_of(dataset, subset).items()
    }
    return ObjectStoreSource(folder, ray.put(dataset.manifest), references)


def arrays_of(dataset: Dataset, subset: Subset) -> dict[str, NDArray[Any]]:
    """Return every array of a subset by its name in the manifest."""
    arrays, lengths = dataset.arrays(subset), dataset.path_lengths(subset)
    edges, names = dataset.edges(subset), dataset.manifest.path_lengths
    found = {"input": arrays.input, "mask": arrays.mask, **arrays.targets}
    if names is not None and lengths is not None:
        found |= {names.soft: lengths[0], names.bone: lengths[1]}
    return found if edges is None else {**found, EDGES: edges}


def _store_bytes() -> int:
    """Return the size of the object store of the driver's node."""
    here = ray.get_runtime_context().get_node_id()
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    found = [node["Resources"] for node in nodes if node["NodeID"] == here]
    return int(found[0].get("object_store_memory", 0)) if found else 0


def _spill_folder() -> Path:
    """Return where the driver's node spills to, unless it was told another folder."""
    node = ray_worker._global_node
    return Path(tempfile.gettempdir() if node is None else node.get_session_dir_path())
