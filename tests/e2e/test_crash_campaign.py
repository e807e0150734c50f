"""`scripts/crash`: kill -9 at random moments; and it would notice."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from consensus.address import encode_address
from consensus.params import REGTEST
from consensus.types import LockId
from scripts.crash_campaign import Campaign, main
from scripts.crash_daemon import Lost

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_a_daemon_killed_at_random_moments_is_the_one_that_was_never_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A121, A122, A137, A142, A143: while it connects, changes branches, saves its wallet, starts, recovers, stops."""
    status = main(["--kills", "25", "--resume", str(tmp_path)])
    said = capsys.readouterr()
    assert status == 0, said.out + said.err
    assert "25 kills" in said.out
    assert main(["--kills", "1", "--resume", str(tmp_path)]) == 0
    assert "26 kills" in capsys.readouterr().out


async def test_what_is_lost_is_noticed(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, random.Random(1))
    try:
        await campaign.prepare(encrypted=True)
        await campaign.run(1)
        address = await campaign.victim.call("getnewaddress")
        for said, made_up in (
            (campaign.said.blocks, "00" * 32),
            (campaign.said.addresses, encode_address(REGTEST, LockId(bytes(32)))),
            (campaign.said.payments, "00" * 32),
        ):
            said.append(made_up)
            with pytest.raises(Lost):
                await campaign.check(thoroughly=False)
            said.pop()
        campaign.said.addresses.append(address)
        campaign.said.labels[address] = ("mine",)
        with pytest.raises(Lost, match="labelled"):
            await campaign.check(thoroughly=False)
        campaign.said.labels.clear()
        campaign.said.passphrases = ("another",)
        with pytest.raises(Lost, match="opens the wallet"):
            await campaign.check(thoroughly=False)
    finally:
        await campaign.close()
