"""The operator's own verdict on blocks: leave a branch that breaks no rule, and take it back."""

from __future__ import annotations

from node.api.method import Area, method
from node.api.methods.chain import find_entry
from node.api.parameters import HashHex
from node.api.services import Services
from rpc.errors import ErrorCode, RpcError


@method(Area.BLOCKCHAIN)
async def invalidateblock(services: Services, blockhash: HashHex) -> None:
    """Treat a block, and all that builds on it, as invalid; the node is on its best other branch when the call returns.

    Kept over restarts, until reconsiderblock. Peers are not blamed for the branch, and payments of blocks that are left
    wait in the mempool again.

    Args:
        blockhash: the block's id; not genesis.
    """
    entry = find_entry(services, blockhash)
    if entry.parent is None:
        raise RpcError(ErrorCode.INVALID_PARAMETER, "The genesis block cannot be invalidated")
    await services.chain.set_aside(entry)


@method(Area.BLOCKCHAIN)
async def reconsiderblock(services: Services, blockhash: HashHex) -> None:
    """Forget what marks a block as invalid, those before it and those that build on it; all rules are checked anew.

    The node is on its best branch when the call returns, as far as the blocks are here; the rest is fetched from peers.

    Args:
        blockhash: the block's id.
    """
    await services.chain.take_back(find_entry(services, blockhash))
    services.node.sync.ask_all_for_headers()


METHODS = (invalidateblock, reconsiderblock)
