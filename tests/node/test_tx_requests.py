"""Which transactions are asked of whom: against a plain model, and at the bounds."""

from __future__ import annotations

import random

import pytest

from consensus.types import WTxId
from node import gossip_limits as limits
from node.tx_requests import TxRequests


def ids(count: int) -> list[WTxId]:
    return [WTxId(number.to_bytes(32, "big")) for number in range(count)]


def always(_: WTxId) -> bool:
    return True


def test_a_transaction_is_asked_of_one_peer_at_a_time_in_the_order_of_announcing() -> None:
    """A093"""
    requests = TxRequests()
    (tx,) = ids(1)
    for peer in (1, 2, 3):
        requests.add_peer(peer)
        requests.announced(peer, tx)
    assert requests.next_for(2, 0.0, always) == [tx]
    assert requests.next_for(1, 0.0, always) == []
    assert requests.next_timer() == limits.TX_REQUEST_SECONDS
    requests.expire(limits.TX_REQUEST_SECONDS - 0.1)
    assert requests.next_for(1, 9.9, always) == []
    requests.expire(limits.TX_REQUEST_SECONDS)
    assert requests.next_for(2, 10.0, always) == []
    assert requests.next_for(3, 11.0, always) == [tx]
    requests.remove_peer(3)
    assert requests.next_for(1, 11.0, always) == [tx]
    requests.settled(tx)
    assert len(requests) == 0
    assert requests.next_timer() is None


def test_at_most_a_hundred_are_asked_of_one_peer_at_a_time() -> None:
    """A089"""
    requests = TxRequests()
    requests.add_peer(1)
    for tx in ids(300):
        requests.announced(1, tx)
    first = requests.next_for(1, 0.0, always)
    assert len(first) == limits.MAX_TX_ASKED_PER_PEER
    assert requests.next_for(1, 0.0, always) == []
    requests.settled(first[0])
    assert len(requests.next_for(1, 0.0, always)) == 1


def test_what_is_not_wanted_any_more_is_forgotten_and_not_asked_for() -> None:
    requests = TxRequests()
    requests.add_peer(1)
    for tx in ids(10):
        requests.announced(1, tx)
    assert requests.next_for(1, 0.0, lambda _: False) == []
    assert len(requests) == 0


@pytest.mark.parametrize("seed", range(20))
def test_whatever_peers_do_nothing_is_left_when_they_are_gone_and_nobody_is_asked_twice(seed: int) -> None:
    """A085, A093"""
    rng = random.Random(seed)
    requests = TxRequests()
    txs, now = ids(40), 0.0
    connected: list[int] = []
    asked: dict[WTxId, tuple[int, float]] = {}
    tried: set[tuple[WTxId, int]] = set()
    for step in range(600):
        now += rng.random()
        for tx in [tx for tx, (_, since) in asked.items() if since + limits.TX_REQUEST_SECONDS <= now]:
            del asked[tx]
        requests.expire(now)
        match rng.randrange(6):
            case 0:
                connected.append(step)
                requests.add_peer(step)
            case 1 if connected:
                gone = connected.pop(rng.randrange(len(connected)))
                requests.remove_peer(gone)
                asked = {tx: who for tx, who in asked.items() if who[0] != gone}
            case 2 if connected:
                tx = rng.choice(txs)
                requests.settled(tx)
                asked.pop(tx, None)
                tried = {pair for pair in tried if pair[0] != tx}
            case _ if connected:
                peer = rng.choice(connected)
                for tx in rng.sample(txs, 5):
                    if (tx, peer) not in tried:
                        requests.announced(peer, tx)
                for tx in requests.next_for(peer, now, always):
                    assert tx not in asked
                    assert (tx, peer) not in tried
                    asked[tx] = peer, now
                    tried.add((tx, peer))
            case _:
                pass
    for peer in connected:
        requests.remove_peer(peer)
    assert len(requests) == 0
    assert requests.next_timer() is None
    assert not requests._peers
