"""Every way in which this node's own storage can fail it. Nobody else is to blame; the node stops."""

from __future__ import annotations

import errno


class StorageError(Exception):
    """The disk, or what stands on it, is not as it must be. The message says what to do."""


class FolderInUseError(StorageError):
    """Another process, or another part of this one, holds the folder."""


class NewerStorageError(StorageError):
    """A newer program wrote this folder. Nothing was written; run that program."""


class OtherNetworkError(StorageError):
    """The folder belongs to another network, that is, to another genesis block."""


class DamagedError(StorageError):
    """A record is missing, or is not what was written (A124, A125, A135). `--reindex` rebuilds from the blocks."""


class DiskFullError(StorageError):
    """No space left. What was written before stands; the last write did not happen (A126)."""


def from_os_error(what: str, error: OSError) -> StorageError:
    """Return the error of ours that says what the system said, and of what."""
    kind = DiskFullError if error.errno in {errno.ENOSPC, errno.EDQUOT} else StorageError
    return kind(f"{what}: {error.strerror or error}")


def again(error: StorageError) -> StorageError:
    """Return what a call gets that comes after one that failed: the same, and that it was not tried."""
    return type(error)(f"{error} (since then nothing is written)")
