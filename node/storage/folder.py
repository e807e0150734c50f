"""One owner for a folder: a lock that the system gives back however its holder ends (A129)."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from node.storage.errors import FolderInUseError, StorageError, from_os_error
from node.storage.files import make_folder

LOCK_NAME = ".lock"
_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK_KINDS = ("nfs", "cifs", "smb", "afs", "ceph", "glusterfs", "lustre", "fuse.sshfs", "fuse.s3fs")
"""How the kinds of file systems begin on which another machine may write too, or a lock may hold nobody off."""


class FolderLock:
    """Holds a folder until `release`, or until this process ends, be it by kill -9.

    The lock is of the open file, so that a second holder in the same process is refused too, and a
    stale file blocks nobody. That holds for a disk of this machine only, and so does LMDB: a network's is refused.
    """

    def __init__(self, folder: Path) -> None:
        """Make `folder` if need be (mode 0700), and hold it.

        Raises:
            FolderInUseError: somebody else holds it. Nothing was written.
            StorageError: it cannot be made or written to, or lies on another machine.
        """
        self.folder = folder
        try:
            make_folder(folder)
            _refuse_network(folder)
            # Python's descriptors are not inherited, so no child can keep the lock alive.
            descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise from_os_error(f"cannot use the folder {folder}", error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
                raise FolderInUseError(f"the folder {folder} is in use by another process") from None
            raise StorageError(f"cannot lock the folder {folder}: {error.strerror or error}") from error
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Let the folder go; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _refuse_network(folder: Path) -> None:
    """Refuse a folder on a network file system, where that can be told (Linux).

    Raises:
        StorageError: it is on one.
    """
    try:
        mounts = _MOUNTS.read_text(errors="surrogateescape")
    except OSError:
        return
    kind = file_system_of(folder.resolve(), mounts)
    if kind.startswith(_NETWORK_KINDS):
        raise StorageError(
            f"the folder {folder} is on a network file system ({kind}), which neither locks nor memory maps can be "
            "trusted on: give a folder on a disk of this machine"
        )


def file_system_of(folder: Path, mounts: str) -> str:
    """Return the kind of file system that a resolved path is on, by the lines of Linux's mountinfo (proc(5)).

    36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
    """
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        if not rest or len(fields.split()) < 5:
            continue
        # Blanks and the like in a path are written as \040: an octal number of three digits.
        place = Path(fields.split()[4].encode("ascii", "surrogateescape").decode("unicode_escape"))
        if (folder == place or place in folder.parents) and len(place.parts) >= best:
            best, kind = len(place.parts), rest.split()[0]
    return kind
