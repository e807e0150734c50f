"""The `dure` command and its groups of commands. What a command needs is imported when it runs."""

from __future__ import annotations

import click

from cli import (
    asset,
    coins,
    doctor,
    faults,
    lines,
    logs,
    network,
    nft,
    plan,
    policies,
    psdt,
    reorg,
    rpc,
    snapshots,
    swap,
    wallet,
    watch,
)
from cli.context import FOLDER_HELP, Commands, Context

EPILOG = """
Exit status: 0 done, 1 refused, 2 usage, 69 something does not answer or is taken, 78 configuration,
130 Ctrl-C.
"""


@click.group(cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--dir", "folder", metavar="D", help=FOLDER_HELP)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.version_option(package_name="dure", prog_name="dure", message="%(prog)s %(version)s")
@click.pass_context
def main(context: click.Context, folder: str | None, as_json: bool) -> None:
    """Run networks of Dure nodes on this machine: mine, pay, cut them in two, and watch forks being resolved."""
    ours = context.ensure_object(Context)
    ours.given_folder = folder
    ours.json = as_json


for group in (
    network,
    coins,
    wallet,
    asset,
    nft,
    policies,
    psdt,
    swap,
    faults,
    lines,
    reorg,
    plan,
    snapshots,
    watch,
    logs,
    rpc,
    doctor,
):
    for command in group.COMMANDS:
        main.add_command(command)


if __name__ == "__main__":
    main()
