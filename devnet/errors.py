"""What can go wrong with a network on this machine: each a sentence for the user, and an exit status."""

from __future__ import annotations

from typing import ClassVar


class DevnetError(Exception):
    """A request that was not done; its text is a whole sentence for the user, and nothing was left half done."""

    status: ClassVar[int]
    """The exit status of a program that ends because of this (sysexits.h where it has a name for it)."""


class Refused(DevnetError):
    """The request makes sense, but not now, or not for this network."""

    status = 1


class Misused(DevnetError):
    """The request itself makes no sense: it names a node that is not there, or one twice."""

    status = 2


class Unavailable(DevnetError):
    """Something that the request needs does not answer: a node that is down, a port that is taken."""

    status = 69


class Misconfigured(DevnetError):
    """This machine or the network's folder is not as it must be."""

    status = 78
