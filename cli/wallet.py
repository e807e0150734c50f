"""The group `dure wallet`: what one does with one node's wallet."""

from __future__ import annotations

import click

from cli import wallet_keys, wallet_pay, wallet_view
from cli.context import Commands


@click.group(cls=Commands)
def wallet() -> None:
    """One node's wallet: payments, addresses, passphrase, backup.

    A passphrase is asked for unseen, or read from standard input or a file: it never is an argument, which other
    programs could see.
    """


for module in (wallet_view, wallet_pay, wallet_keys):
    for command in module.COMMANDS:
        wallet.add_command(command)

COMMANDS = (wallet,)
