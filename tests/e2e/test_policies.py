"""Policies in a real daemon: what a call has answered outlives the process, however it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.daemon import daemons
from tests.support.rules import key

pytestmark = pytest.mark.e2e


async def test_keys_and_policies_outlive_a_kill_and_a_vault_its_alarm(tmp_path: Path) -> None:
    async with daemons(tmp_path) as (daemon,):
        await daemon.start()
        hot = await daemon.call("getpolicykey")
        cold = key(1).key.hex()
        way_out = f"threshold(1, [threshold(2, [key({hot}), older(6)]), key({cold})])"
        lock = (await daemon.call("explainpolicy", way_out))["lock"]
        inside = f"threshold(1, [threshold(2, [key({hot}), pays({lock})]), key({cold})])"
        await daemon.call("importpolicy", "savings/withdrawal", way_out, {hot: "me"})
        vault = await daemon.call("importpolicy", "savings", inside)
        await daemon.kill()
        await daemon.start()
        assert [one["name"] for one in (await daemon.call("listpolicies"))["policies"]] == [
            "savings/withdrawal",
            "savings",
        ]
        assert await daemon.call("getpolicykey") != hot
        await daemon.mine(101)
        await daemon.call("sendtoaddress", vault["address"], 20)
        await daemon.mine(1)
        target = (await daemon.call("explainpolicy", "savings/withdrawal"))["address"]
        spend = await daemon.call("spendpolicy", "savings", None, target, 1)
        signed = await daemon.call("walletprocesspsbt", spend["psbt"])
        txid = (await daemon.call("finalizepsbt", signed["psbt"], True, True))["txid"]
        # Sent, in no block, and the process is gone: the alarm is still there, and so is the payment.
        await daemon.kill()
        await daemon.start()
        (alarm,) = (await daemon.call("listpolicies"))["withdrawals"]
        assert (alarm["txid"], alarm["confirmations"]) == (txid, 0)
        await daemon.until("getrawmempool", gives=lambda waiting: waiting == [txid])
        await daemon.mine(1)
        (alarm,) = (await daemon.call("listpolicies"))["withdrawals"]
        assert alarm["free_at"] == await daemon.call("getblockcount") + 6
        assert await daemon.stop() == 0
