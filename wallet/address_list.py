"""The addresses as their owner sees them: which were handed out, what they are called, what they were paid."""

from __future__ import annotations

from consensus.types import Amount, LockId
from wallet.addresses import AddressBook, Branch, KnownAddress
from wallet.keys import ACCOUNT_PATH, path_text
from wallet.results import AddressFacts, OwnAddress
from wallet.store import WalletStore


class AddressList:
    """Reads the address book, and names what is in it."""

    def __init__(self, store: WalletStore, addresses: AddressBook) -> None:
        self._store = store
        self._addresses = addresses

    def facts(self, lock: LockId) -> AddressFacts:
        """Return what is known of a lock, ours or not."""
        known = self._addresses.find(lock)
        label = self._addresses.label_of(lock)
        if known is None:
            return AddressFacts(lock, mine=False, label=label)
        return AddressFacts(
            lock,
            mine=True,
            label=label,
            change=known.branch is Branch.CHANGE,
            public_key=self._addresses.public_key(known),
            path=_path(known),
        )

    def set_label(self, lock: LockId, label: str) -> None:
        """Give a lock a name, ours or somebody else's; an empty one takes it away. Durable when this returns.

        Raises:
            WalletError: the label is too long or cannot be printed, or there are too many.
        """
        self._addresses.set_label(lock, label)

    def labels(self) -> dict[str, list[AddressFacts]]:
        """Return who has which label: the labels in the order of the alphabet, ours before those of others."""
        named: dict[str, list[AddressFacts]] = {}
        for known in self._addresses.handed_out():
            if known.branch is not Branch.CHANGE:
                named.setdefault(known.label, []).append(AddressFacts(known.lock, mine=True, label=known.label))
        for lock, label in self._addresses.contacts():
            named.setdefault(label, []).append(AddressFacts(lock, mine=False, label=label))
        return dict(sorted(named.items()))

    def handed_out(self) -> list[OwnAddress]:
        """Return all addresses that were handed out or imported, with what they were paid in blocks.

        Looks at every coin that the wallet ever had: about a second for 300,000.
        """
        received: dict[LockId, tuple[int, int]] = {}
        for _, coin in self._store.coins():
            if coin.height is not None and coin.asset is None:
                value, payments = received.get(coin.lock, (0, 0))
                received[coin.lock] = (value + coin.value, payments + 1)
        return [
            OwnAddress(
                known.lock,
                known.label,
                _path(known),
                known.branch is Branch.CHANGE,
                Amount(received.get(known.lock, (0, 0))[0]),
                received.get(known.lock, (0, 0))[1],
            )
            for known in self._addresses.handed_out()
        ]


def _path(known: KnownAddress) -> str:
    if known.branch is Branch.IMPORTED:
        return ""
    return path_text((*ACCOUNT_PATH, known.branch, known.index))
