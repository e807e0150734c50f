"""The `dure asset` group: its commands, in the order of a user's first hour."""

from __future__ import annotations

from cli import asset_approvals, asset_freezing, asset_making, asset_waiting
from cli.assets import asset

for module in (asset_making, asset_approvals, asset_waiting, asset_freezing):
    for command in module.COMMANDS:
        asset.add_command(command)

COMMANDS = (asset,)
