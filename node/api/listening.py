"""Where JSON-RPC listens, and who may call: the socket, the cookie file, the passwords."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from pathlib import Path

from node.api.access import Access, Login, Role
from node.config import NodeConfig
from node.storage.errors import StorageError
from p2p.limits import LISTEN_BACKLOG
from rpc.client import COOKIE_NAME, COOKIE_USER


class Cookie:
    """A secret of this run, in a file that only the node's owner can read: whoever reads it may call."""

    def __init__(self, folder: Path) -> None:
        """Draw the secret and write the file, over that of an earlier run.

        Raises:
            StorageError: it cannot be written.
        """
        self.path = folder / COOKIE_NAME
        self.login = Login(COOKIE_USER, secrets.token_hex(32), Role.OWNER)
        temporary = folder / f"{COOKIE_NAME}.new"
        try:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
            # O_EXCL: nobody has put a link there for us to write through.
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(f"{self.login.user}:{self.login.password}")
            temporary.replace(self.path)
        except OSError as error:
            raise StorageError(f"cannot write the cookie file {self.path}: {error.strerror or error}") from error

    def remove(self) -> None:
        """Delete the file, as the node stops."""
        with contextlib.suppress(OSError):
            self.path.unlink()


def access_for(config: NodeConfig, cookie: Cookie) -> Access:
    """Return who may call, by the settings."""
    logins = [cookie.login]
    if config.rpc_password is not None:
        logins.append(Login(config.rpc_user, config.rpc_password, Role.OWNER))
    if config.rpc_read_password is not None:
        logins.append(Login(config.rpc_read_user, config.rpc_read_password, Role.READER))
    return Access(logins, hosts=config.rpc_hosts, bound_to=config.rpc_bind)


def bind(host: str, port: int, backlog: int = LISTEN_BACKLOG) -> socket.socket:
    """Return a listening socket.

    Args:
        backlog: connections that the system may keep ready for us.

    Raises:
        OSError: the port is taken, or the host is not one of this machine.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        # Only from connections of an earlier run; a socket that still listens keeps the port.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setblocking(False)
        bound.bind(address)
        bound.listen(backlog)
    except OSError:
        bound.close()
        raise
    return bound
