"""The claims on a study: files numbered by their fencing token, of which the newest one counts.

    STUDY/lease/7.json   a claim: owner, user, process, token, since when; then what changes:
                         how often it has beaten, and whether it was given back
    STUDY/lease.json     leads to the newest one, for people

A number is claimed by linking a whole file to its name, which one process can do and no second
one, on NFS too. A claim is never replaced: its owner overwrites it in place with as many bytes, so
beating needs no room on the disk, and an owner that comes back too late writes into its own old
claim only.
"""

import contextlib
import errno
import getpass
import json
import os
import secrets
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dexsearch.search.process_identity import ProcessIdentity, this_process

FOLDER_NAME = "lease"
LINK_NAME = "lease.json"
KEPT = 16
"""Old claims that stay, so that whoever was about to claim their number still finds it taken."""
_MIN_BYTES = 1024
_READS = 3
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


@dataclass(frozen=True, slots=True)
class Claim:
    """One acquisition of a study."""

    token: int
    owner: str
    """Random, so that no two claims of whatever machine are alike."""
    user: str
    process: ProcessIdentity
    since: float
    """In seconds since 1970 by the owner's clock; for people, compared with nothing."""
    beat: int = 0
    settled: bool = False
    """Whether the owner has put aside whatever earlier owners may still write."""
    released: bool = False

    def __str__(self) -> str:
        """Return who holds the study, for messages."""
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"{self.user} on {self.process.host} (process {self.process.pid}, since {when})"


@dataclass(frozen=True, slots=True)
class OwnClaim:
    """A claim of this process, which alone writes into it."""

    claim: Claim
    path: Path
    descriptor: int
    n_bytes: int
    follower: str
    """The path of the claim that comes next."""

    def write(self, *, beat: int, settled: bool, released: bool = False) -> None:
        """Overwrite what changes; OSError if the file system does not take it."""
        changed = replace(self.claim, beat=beat, settled=settled, released=released)
        content = _content(changed, self.n_bytes)
        os.pwrite(self.descriptor, content, 0)
        os.fsync(self.descriptor)

    def is_followed(self) -> bool:
        """Return whether the next token was claimed; costs a look at two names."""
        if os.access(self.follower, os.F_OK):
            return True
        try:
            os.stat(self.path)
        except OSError as error:  # both are cleared away after many more acquisitions
            return isinstance(error, FileNotFoundError)
        return False

    def close(self) -> None:
        """Close the file; it stays."""
        os.close(self.descriptor)


def new_claim(token: int) -> Claim:
    """Return a claim of this process that is not written yet."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        user = f"user {os.getuid()}"
    return Claim(token, secrets.token_hex(8), user, this_process(), round(time.time(), 3))


def claims_on(folder: Path) -> tuple[Claim, ...]:
    """Return the claims on a study that are still on file, the newest one last.

    One that cannot be read, because it is written just now or its machine crashed meanwhile, has
    no owner; its content counts as its beat.
    """
    claims = (_read(folder, token) for token in _tokens(folder))
    return tuple(claim for claim in claims if claim is not None)


def newest_claim(folder: Path) -> Claim | None:
    """Return the claim that counts, given back or not; None if there has never been one."""
    for token in reversed(_tokens(folder)):
        if (claim := _read(folder, token)) is not None:
            return claim
    return None


def try_to_claim(folder: Path, claim: Claim) -> OwnClaim | None:
    """Write a claim if nobody has claimed its token or a later one; None if somebody has.

    Raises:
        OSError: if the file system does not take it.
    """
    path = _path(folder, claim.token)
    path.parent.mkdir(parents=True, exist_ok=True)
    own = _create(path, claim)
    if own is None:
        return None
    if _tokens(folder)[-1] > claim.token:  # we were away for so long that our number was cleared
        own.close()
        path.unlink()
        return None
    _tidy(folder, claim)
    return own


def _create(path: Path, claim: Claim) -> OwnClaim | None:
    n_bytes = max(_MIN_BYTES, len(_content(claim, 0)) + 64)
    content = _content(claim, n_bytes)
    draft = path.with_name(f".{claim.owner}")
    try:
        _write_new(draft, content)
        is_ours = _linked(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    if is_ours is None:  # no links on this file system
        is_ours = _written(path, content)
    if not is_ours:
        return None
    follower = str(path.with_name(f"{claim.token + 1}.json"))
    return OwnClaim(claim, path, os.open(path, os.O_RDWR), n_bytes, follower)


def _written(path: Path, content: bytes) -> bool:
    """Write a claim under its name, if that is free; others may see a part of it meanwhile."""
    try:
        _write_new(path, content)
    except FileExistsError:
        return False
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return True


def _linked(draft: Path, path: Path) -> bool | None:
    """Give the draft its second name, if it is free; None where there are no links."""
    try:
        os.link(draft, path)
    except OSError as error:
        if draft.stat().st_nlink == 2:
            return True  # done, and only the answer was lost, as happens on NFS
        if isinstance(error, FileExistsError):
            return False
        if error.errno in _NO_LINKS:
            return None
        raise
    return True


def _write_new(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        if os.write(descriptor, content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _tidy(folder: Path, claim: Claim) -> None:
    """Lead people to the claim, and clear away the oldest ones; neither is needed."""
    with contextlib.suppress(OSError):
        link = folder / f".{LINK_NAME}.{claim.owner}"
        link.symlink_to(f"{FOLDER_NAME}/{claim.token}.json")
        link.replace(folder / LINK_NAME)
    for token in _tokens(folder):
        if token <= claim.token - KEPT:
            with contextlib.suppress(OSError):
                _path(folder, token).unlink()


def _read(folder: Path, token: int) -> Claim | None:
    """Read one claim, opening it anew, as NFS wants it; None if it was cleared away."""
    content = b""
    for _ in range(_READS):  # it may be overwritten in the very moment
        try:
            content = _path(folder, token).read_bytes()
        except FileNotFoundError:
            return None
        with contextlib.suppress(ValueError, TypeError, KeyError):
            return _parsed(json.loads(content))
    unknown = ProcessIdentity("an unknown machine", "", 0, 0)
    return Claim(token, "", "somebody", unknown, 0.0, beat=hash(content))


def _parsed(values: dict[str, Any]) -> Claim:
    process = values["process"]
    return Claim(
        token=int(values["token"]),
        owner=str(values["owner"]),
        user=str(values["user"]),
        process=ProcessIdentity(
            str(process["host"]), str(process["boot"]), int(process["pid"]), int(process["began"])
        ),
        since=float(values["since"]),
        beat=int(values["beat"]),
        settled=bool(values["settled"]),
        released=bool(values["released"]),
    )


def _content(claim: Claim, n_bytes: int) -> bytes:
    return json.dumps(asdict(claim)).encode().ljust(n_bytes - 1) + b"\n"


def _path(folder: Path, token: int) -> Path:
    return folder / FOLDER_NAME / f"{token}.json"


def _tokens(folder: Path) -> list[int]:
    """Return the numbers of the claims on file, in order."""
    try:
        names = os.listdir(folder / FOLDER_NAME)
    except FileNotFoundError:
        return []
    stems = (name.removesuffix(".json") for name in names if name.endswith(".json"))
    return sorted(int(stem) for stem in stems if stem.isdecimal())
