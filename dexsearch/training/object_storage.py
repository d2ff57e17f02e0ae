"""Objects under a URI, through pyarrow's file systems; importing this imports pyarrow.

The keys of a storage come from the environment or from the machine's role, never from the URI,
which is written into ledgers and shown.
"""

import contextlib
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from pyarrow.fs import (
    AwsStandardS3RetryStrategy,
    FileSelector,
    FileSystem,
    FileType,
    S3FileSystem,
    resolve_s3_region,
)

from dexsearch.location import holds_a_key

_S3_OPTIONS = ("endpoint_override", "region", "scheme", "tls_ca_file_path")
_CONNECT_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a storage that does not answer is waited for."""

    attempts: int = 5
    """Of each request to S3, with growing pauses between them."""
    request_s: float = 10.0
    """Without a byte, after which an attempt counts as failed."""
    google_s: int = 60
    """For a request to Google's storage, all attempts together."""


LONG = Patience()
"""While a trial runs, whose training would be lost."""
SHORT = Patience(attempts=2, request_s=4.0, google_s=5)
"""While a person waits to hear whether the address is right."""


@dataclass(frozen=True, slots=True)
class ObjectStorage:
    """What is stored under one URI; names are relative to it, with `/` between their parts."""

    filesystem: FileSystem
    root: str

    def folders(self) -> list[str]:
        """Return the names of what looks like folders; none where nothing is."""
        selector = FileSelector(self.root, recursive=False, allow_not_found=True)
        found = self.filesystem.get_file_info(selector)
        return [info.base_name for info in found if info.type == FileType.Directory]

    def put(self, name: str, content: bytes) -> None:
        """Write an object; its folder is made where the storage has such a thing."""
        path = f"{self.root}/{name}"
        if self.filesystem.type_name in ("local", "hdfs"):
            self.filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        with self.filesystem.open_output_stream(path) as stream:
            stream.write(content)

    def get(self, name: str) -> bytes:
        """Return the content of an object; FileNotFoundError if there is none."""
        with self.filesystem.open_input_file(f"{self.root}/{name}") as file:
            return bytes(file.read())

    def delete(self, name: str) -> None:
        """Delete an object; one that is not there is no error."""
        with contextlib.suppress(FileNotFoundError):
            self.filesystem.delete_file(f"{self.root}/{name}")

    def delete_folder(self, name: str) -> None:
        """Delete every object whose name begins with `name/`."""
        with contextlib.suppress(FileNotFoundError):
            self.filesystem.delete_dir(f"{self.root}/{name}")

    def bucket_is_missing(self) -> bool:
        """Return whether the first part of the path has to be made by somebody else first."""
        if self.filesystem.type_name not in ("s3", "gcs"):
            return False
        bucket = self.root.partition("/")[0]
        return bool(self.filesystem.get_file_info(bucket).type == FileType.NotFound)


def open_storage(uri: str, patience: Patience = LONG) -> ObjectStorage:
    """Return the objects under a URI.

    Raises:
        ValueError: if pyarrow knows no such URI, it names no bucket, or it holds a key.
        OSError: if what it needs is not there, such as the bucket's region or Hadoop's library.
    """
    parts = urlsplit(uri)
    if holds_a_key(uri):
        raise ValueError("a key stands in it, which ledgers and messages would show")
    if parts.scheme in ("s3", "gs", "gcs") and not parts.hostname:
        raise ValueError(f"it names no bucket, as in {parts.scheme}://BUCKET/FOLDER")
    if parts.scheme == "s3":
        return _s3(parts, patience)
    if parts.scheme in ("gs", "gcs"):
        limit = {"retry_limit_seconds": str(patience.google_s)}
        uri = parts._replace(query=urlencode(limit | dict(parse_qsl(parts.query)))).geturl()
    filesystem, root = FileSystem.from_uri(uri)
    return ObjectStorage(filesystem, root.rstrip("/"))


def _s3(parts: SplitResult, patience: Patience) -> ObjectStorage:
    options = dict(parse_qsl(parts.query))
    unknown = sorted(options.keys() - set(_S3_OPTIONS))
    if unknown:
        raise ValueError(f"unknown option {unknown[0]!r}; known are {', '.join(_S3_OPTIONS)}")
    bucket = parts.netloc
    if "region" not in options and "endpoint_override" not in options:
        options["region"] = resolve_s3_region(bucket)
    filesystem = S3FileSystem(
        **options,
        connect_timeout=_CONNECT_TIMEOUT_S,
        request_timeout=patience.request_s,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=patience.attempts),
        allow_delayed_open=True,  # one request for a small object instead of three
    )
    return ObjectStorage(filesystem, (bucket + parts.path).rstrip("/"))
