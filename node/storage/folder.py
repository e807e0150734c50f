"""One owner for a folder: a lock that the system gives back however its holder ends (A129)."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from node.storage.errors import FolderInUseError, StorageError, from_os_error
from node.storage.files import make_folder

LOCK_NAME = ".lock"


class FolderLock:
    """Holds a folder until `release`, or until this process ends, be it by kill -9.

    The lock is of the open file, so that a second holder in the same process is refused too, and a
    stale file blocks nobody. Network file systems that ignore flock are not supported.
    """

    def __init__(self, folder: Path) -> None:
        """Make `folder` if need be (mode 0700), and hold it.

        Raises:
            FolderInUseError: somebody else holds it. Nothing was written.
            StorageError: it cannot be made or written to.
        """
        self.folder = folder
        try:
            make_folder(folder)
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
