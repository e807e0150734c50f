"""What opens one node's wallet, and what brings it back: passphrase, words, backup, single keys, signed messages."""

from __future__ import annotations

import os
from pathlib import Path

import click

from cli.context import NODE, Context, common
from cli.wallet_access import MAX_SECRET, NodeWallet, SecondsType, moment, passphrase_file, read_file, read_secret

FILE = click.Path(path_type=Path)
MAX_BACKUP = 6 * 1024 * 1024
"""Bytes: what fits into a call."""


@click.command()
@click.argument("node", type=NODE)
@passphrase_file
@common
def encrypt(context: Context, *, node: int, passphrase_file: Path | None) -> None:
    """Put the wallet under a passphrase, and lock it.

    Without the passphrase the coins are lost.
    """
    target = NodeWallet(context, node)
    said = target.call("encryptwallet", read_secret("New passphrase", passphrase_file, confirm=True))
    text = str(said)
    context.emit(
        {"node": node, "encrypted": True}, f"{text[:1].upper()}{text[1:]}.\nPay again: {target.hint('unlock')}"
    )


@click.command()
@click.argument("node", type=NODE)
@click.option("--for", "seconds", type=SecondsType(), default="10m", show_default=True, help="Then it locks itself.")
@passphrase_file
@common
def unlock(context: Context, *, node: int, seconds: int, passphrase_file: Path | None) -> None:
    """Let an encrypted wallet pay for some time."""
    from rpc.schema import WalletInfo

    target = NodeWallet(context, node)
    target.call("walletpassphrase", read_secret("Passphrase", passphrase_file), seconds)
    until = target.ask(WalletInfo, "getwalletinfo").unlocked_until
    when = f" until {moment(until, '%H:%M:%S')} UTC" if isinstance(until, int) and until else ""
    context.emit(
        {"node": node, "unlocked_until": until}, f"Node {node} can pay{when}. Lock it before: {target.hint('lock')}"
    )


@click.command()
@click.argument("node", type=NODE)
@common
def lock(context: Context, *, node: int) -> None:
    """Lock the wallet now."""
    NodeWallet(context, node).call("walletlock")
    context.emit({"node": node, "locked": True}, f"The wallet of node {node} is locked.")


@click.command()
@click.argument("node", type=NODE)
@click.option("--old-file", type=FILE, metavar="F", help="Take the old passphrase from F's first line.")
@click.option("--new-file", type=FILE, metavar="F", help="Take the new one from F's first line.")
@common
def passphrase(context: Context, *, node: int, old_file: Path | None, new_file: Path | None) -> None:
    """Put the wallet under another passphrase."""
    target = NodeWallet(context, node)
    old = read_secret("Passphrase until now", old_file)
    target.call("walletpassphrasechange", old, read_secret("New passphrase", new_file, confirm=True))
    context.emit(
        {"node": node, "changed": True},
        "Changed. Backups made before still open with the old one: make a new one and destroy those.\n"
        f"New backup: {target.hint('backup FILE')}",
    )


# Words and backups


@click.command()
@click.argument("node", type=NODE)
@common
def words(context: Context, *, node: int) -> None:
    """Show the words from which all keys follow.

    All but imported ones. Whoever sees them has the coins.
    """
    shown = str(NodeWallet(context, node).call("getmnemonic"))
    listed = [f"{place:>2} {word:<10}" for place, word in enumerate(shown.split(" "), 1)]
    rows = "\n".join("  ".join(listed[start : start + 4]).rstrip() for start in range(0, len(listed), 4))
    context.emit({"words": shown}, f"{rows}\n\nWrite them on paper, and show them to nobody.")


@click.command()
@click.argument("node", type=NODE)
@click.argument("file", type=FILE)
@common
def backup(context: Context, *, node: int, file: Path) -> None:
    """Write a backup to FILE, which must not be there yet.

    It holds the keys, as protected as the wallet's, the labels, and payments that no block holds. It stays good until
    keys are imported or the passphrase is changed.
    """
    import base64

    from devnet.errors import Refused
    from rpc.schema import WalletInfo

    target = NodeWallet(context, node)
    encrypted = target.ask(WalletInfo, "getwalletinfo").encrypted
    raw = base64.b64decode(str(target.call("getwalletbackup")))
    try:
        descriptor = os.open(file.expanduser(), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(raw)
            out.flush()
            os.fsync(out.fileno())
    except FileExistsError:
        raise Refused(f"{file} is there already; it is left as it is.") from None
    except OSError as error:
        raise Refused(f"{file} cannot be written: {error.strerror}.") from None
    care = (
        "Its keys are under the wallet's passphrase." if encrypted else "It is NOT encrypted: who has it has the coins."
    )
    context.emit(
        {"file": str(file.absolute()), "bytes": len(raw), "encrypted": encrypted}, f"Written to {file}. {care}"
    )


@click.command()
@click.argument("node", type=NODE)
@click.option("--encrypt", is_flag=True, help="Put it under a passphrase at once; elsewhere than on local it must be.")
@passphrase_file
@common
def create(context: Context, *, node: int, encrypt: bool, passphrase_file: Path | None) -> None:
    """Make a wallet with new words on a node that has none."""
    from devnet.calls import CallRefused
    from devnet.errors import Refused
    from rpc.schema import MadeWallet

    target = NodeWallet(context, node)
    secret = _new_passphrase(passphrase_file, encrypt=encrypt)
    try:
        made = target.ask(MadeWallet, "createwallet", "", False, False, secret)
    except CallRefused as error:
        if secret is not None or "passphrase" not in error.message:
            raise
        raise Refused(f"Node {node} refused: {error.message}. Give it one: {target.hint('create --encrypt')}") from None
    lines = [f"Node {node} has a wallet now.", f"Write its words down: {target.hint('words')}"]
    if secret is not None:
        lines.insert(1, f"It is locked. Unlock it: {target.hint('unlock')}")
    context.emit(made, "\n".join(lines))


@click.command()
@click.argument("node", type=NODE)
@click.argument("file", type=FILE)
@click.option("--replace", is_flag=True, help="Let the wallet that is there give way. It is kept in a folder.")
@click.option("--encrypt", is_flag=True, help="For words: put the wallet under a passphrase at once.")
@passphrase_file
@common
def restore(
    context: Context, *, node: int, file: Path, replace: bool, encrypt: bool, passphrase_file: Path | None
) -> None:
    """Bring a wallet back from a backup, or from words in a file.

    - is standard input. The payments are found in the chain. A backup brings labels and the names of requests along.
    """
    import base64
    import sys

    from devnet.errors import Refused
    from rpc.schema import MadeWallet

    raw = sys.stdin.buffer.read(MAX_BACKUP) if str(file) == "-" else read_file(file, MAX_BACKUP)
    words = _words(raw)
    if words is None and (encrypt or passphrase_file is not None):
        raise Refused("A backup is under its own passphrase, or under none: encrypt the wallet afterwards.")
    target = NodeWallet(context, node)
    backup = base64.b64encode(raw).decode() if words is None else words
    secret = _new_passphrase(passphrase_file, encrypt=encrypt)
    made = target.ask(MadeWallet, "restorewallet", "", backup, secret, replace)
    lines = [f"Node {node} has the wallet back. Look: {target.hint('info')}"]
    if isinstance(made.replaced, str):
        lines.append(f"The wallet that gave way is kept, keys and all, in the folder {made.replaced} of the node.")
    context.emit(made, "\n".join(lines))


def _new_passphrase(file: Path | None, *, encrypt: bool) -> str | None:
    return read_secret("New passphrase", file, confirm=True) if encrypt or file is not None else None


def _words(raw: bytes) -> str | None:
    """Return a mnemonic, if that is what a file holds: several words, on one line or on several."""
    try:
        words = raw.decode("ascii").split()
    except UnicodeDecodeError:
        return None
    return " ".join(words) if len(words) > 1 and all(word.isalpha() for word in words) else None


# Single keys and messages


@click.command("export-key")
@click.argument("node", type=NODE)
@click.argument("address")
@common
def export_key(context: Context, *, node: int, address: str) -> None:
    """Print the private key of one of its addresses, as PEM.

    Whoever has it has what the address is paid.
    """
    pem = str(NodeWallet(context, node).call("exportkey", address))
    context.emit({"address": address, "pem": pem}, pem.rstrip())


@click.command("import-key")
@click.argument("node", type=NODE)
@click.argument("file", type=FILE)
@click.option("--label", default="", help="What its payments are shown with.")
@common
def import_key(context: Context, *, node: int, file: Path, label: str) -> None:
    """Add a private key from a PEM file; - is standard input.

    What its address was paid before is looked for. It follows from no words: make a new backup.
    """
    import sys

    raw = sys.stdin.buffer.read(MAX_SECRET) if str(file) == "-" else read_file(file)
    target = NodeWallet(context, node)
    address = target.call("importkey", raw.decode("utf-8", "replace"), label)
    context.emit({"address": address}, f"{address}\nIt follows from no words. New backup: {target.hint('backup FILE')}")


@click.command()
@click.argument("node", type=NODE)
@click.argument("address")
@click.argument("message")
@common
def sign(context: Context, *, node: int, address: str, message: str) -> None:
    """Sign a text with the key of one of its addresses.

    It proves to others that the owner of the address said it, and can never be a transaction.
    """
    signature = NodeWallet(context, node).call("signmessage", address, message)
    context.emit({"address": address, "signature": signature}, str(signature))


@click.command()
@click.argument("node", type=NODE)
@click.argument("address")
@click.argument("signature")
@click.argument("message")
@common
def verify(context: Context, *, node: int, address: str, signature: str, message: str) -> None:
    """Check that the owner of an address signed a text.

    Any node can tell. The exit status is 0 only if he did.
    """
    good = bool(NodeWallet(context, node).call("verifymessage", address, signature, message))
    said = f"The owner of {address} signed it." if good else "This is NOT signed with the key of that address."
    context.emit({"address": address, "valid": good}, said)
    if not good:
        raise click.exceptions.Exit(1)


COMMANDS = (create, encrypt, unlock, lock, passphrase, words, backup, restore, sign, verify, export_key, import_key)
