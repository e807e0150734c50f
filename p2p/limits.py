"""Every bound and timeout of the wire, each with its reason. Sizes in bytes, times in seconds, rates per second."""

from __future__ import annotations

from typing import Final

# --- versions -----------------------------------------------------------------------------------------------------

PROTOCOL_VERSION: Final = 2
"""What this program speaks. Two peers speak the lower of their two versions."""
OUTLINE_VERSION: Final = 2
"""From this version on a peer is told of a new block by its outline."""
OLDEST_VERSION: Final = 1
"""A peer whose version is lower is refused by name, instead of being misunderstood later."""

# --- frames -------------------------------------------------------------------------------------------------------

HANDSHAKE_BODY: Final = 1024
"""The largest body before the handshake is done: a `Hello` is under 200 bytes, and whoever has said nothing about
itself may make us hold no more than this."""
UNSOLICITED_BODY: Final = 64 * 1024
"""The largest body that nobody asked for. 125 peers that all stop half way then hold 8 MiB, whatever they send."""
MAX_BLOCK_BODY: Final = 4 * 1024 * 1024
"""A block is at most 4 MiB as encoded: the rule of consensus, so that a valid block always fits."""
MAX_TRANSACTION_BODY: Final = 400_000
"""A transaction is at most 400,000 bytes as encoded: the rule of consensus."""
UNKNOWN_BODY: Final = UNSOLICITED_BODY
"""An unknown message is skipped, not stored, but its bytes cost bandwidth like any other that nobody asked for."""
RECEIVE_BUDGET: Final = 64 * 1024 * 1024
"""All half-received values of one node together: sixteen of the largest blocks."""
SMALL_VALUES_SHARE: Final = 16 * 1024 * 1024
"""The part of the budget that bodies past `UNSOLICITED_BODY` cannot take, so that peers who send blocks slowly never
cost another peer its small messages: room for 256 of the largest small ones."""

# --- lists --------------------------------------------------------------------------------------------------------

MAX_INVENTORY: Final = 1000
"""Items in `Inv`, `GetData` and `NotFound`: 36 KB, so that none needs to be asked for. Bitcoin's 50,000 was the
vehicle of CVE-2018-17145."""
MAX_LOCATOR: Final = 101
"""Hashes in a locator, as in Bitcoin Core: ten in a row, then twice as far each; 101 reach past any height."""
MAX_HEADERS: Final = 2000
"""Headers in one answer, as in Bitcoin Core; fewer than this many tell the asker that it has them all."""
MAX_ADDRESSES: Final = 1000
"""Addresses in one `Addr`, as in Bitcoin Core: 27 KB."""
MAX_OUTLINE: Final = 1800
"""Transactions in the outline of a block, its coinbase left aside: 61 KB, so that none needs to be asked for, with
room for a coinbase. A larger block is announced by its header."""
MAX_OUTLINE_COINBASE: Final = 2048
"""Bytes of the coinbase in an outline: some fifty outputs."""
MAX_AGENT: Final = 64
"""Characters of a peer's name for its program: enough for a name and a version, little to fill a log with."""
MAX_MESSAGE_NUMBER: Final = 127
"""A message number is one byte: MessagePack's positive fixint."""
MAX_BODIES_ASKED: Final = 4096
"""Bodies of one kind that count as asked for on one connection: past this an asker waits for answers first."""

# --- times --------------------------------------------------------------------------------------------------------

CONNECT_SECONDS: Final = 10.0
"""Until a dialled peer must have accepted: three TCP retransmissions; a dead address costs a slot no longer."""
HANDSHAKE_SECONDS: Final = 10.0
"""From the open link to the peer's complete `Hello`: slots are scarce, and honest peers need a round trip."""
FRAME_SECONDS: Final = 20.0
"""For any message from its first byte to its last, however small: a link that stalls longer is of no use."""
FRAME_BYTES_PER_SECOND: Final = 64 * 1024
"""What a large body is given on top: one second for so many bytes (half a megabit; 84 s for the largest block)."""
PING_SECONDS: Final = 30.0
"""Between two pings. A dead peer is noticed before a fork gets deep; NAT tables forget idle links after minutes."""
PONG_SECONDS: Final = 120.0
"""For an answer, counted again from each body that was asked for and arrived: a pong queues behind blocks."""
SEND_STALL_SECONDS: Final = 60.0
"""How long a peer may leave our bytes unread with the write buffer over its high-water mark: it asked for them."""
CLOSE_SECONDS: Final = 5.0
"""After we close in order, for the last bytes to leave; then the link is cut."""

# --- write buffer -------------------------------------------------------------------------------------------------

WRITE_HIGH_WATER: Final = 256 * 1024
"""Queued bytes at which a peer counts as slow: it is served nothing more until it reads."""
WRITE_LOW_WATER: Final = 64 * 1024
"""Queued bytes at which it is served again."""
MAX_WRITE_BUFFER: Final = 16 * 1024 * 1024
"""Queued bytes at which a link is cut at once: three blocks and all announcements of an hour, never reached by a
sender that heeds `paused`."""

# --- rates --------------------------------------------------------------------------------------------------------

PING_RATE: Final = 1.0
PING_BURST: Final = 20.0
"""Pings we answer: thirty times what an honest peer sends, with room for an event loop that was stopped a while."""
ADDRESS_RATE: Final = 0.1
ADDRESS_BURST: Final = 1000.0
"""Addresses we take from a peer without having asked: as Bitcoin Core since 2021. The rest of a message is cut off.
After each `GetAddr` of ours one full answer more is taken."""
ADDRESS_START: Final = 10.0
"""Addresses we take at once after the handshake: a new peer announces itself and perhaps a neighbour."""
UNKNOWN_RATE: Final = 1.0
UNKNOWN_BURST: Final = 100.0
"""Unknown messages we skip: a newer peer may try a few kinds, none is worth a stream."""
GET_ADDR_RATE: Final = 1 / 60
GET_ADDR_BURST: Final = 3.0
"""`GetAddr` we hear: each costs a draw of a thousand addresses, and an honest peer asks once."""

# --- known addresses ----------------------------------------------------------------------------------------------

NEW_BUCKETS: Final = 256
TRIED_BUCKETS: Final = 64
BUCKET_SIZE: Final = 64
"""16,384 heard-of and 4,096 proven addresses, about 8 MB when full; a quarter of Bitcoin Core's tables."""
NEW_BUCKETS_PER_SOURCE_GROUP: Final = 64
"""New buckets that the addresses heard from one /16 can reach: one liar owns a quarter of the table at most."""
TRIED_BUCKETS_PER_GROUP: Final = 8
"""Tried buckets that the addresses of one /16 can reach (Heilman et al. 2015, countermeasure 2)."""
MAX_PORTS_PER_HOST: Final = 4
"""Addresses of one public host: whoever names a victim's every port makes us knock four times."""
MIN_LEARNED_PORT: Final = 1024
"""Ports below belong to other services: no peer can send us to somebody's port 22 or 25."""
SEEN_AHEAD_SECONDS: Final = 600
"""How far in our future an address may have been seen: clocks differ, lies differ more."""
FORGET_SECONDS: Final = 30 * 24 * 3600
"""An address not seen for a month gives its place to any other."""
MAX_FAILED_ATTEMPTS: Final = 3
"""A heard-of address that never answered so many dials gives its place to any other."""
RETRY_SECONDS: Final = 2.0
RETRY_CAP_SECONDS: Final = 600.0
"""Before an address is picked again after a failed dial, doubled with each failure up to the cap."""
STAY_TRIED_SECONDS: Final = 4 * 3600
"""A proven address that worked so recently is not moved out of the tried table by another that wants its place."""

# --- discovery ----------------------------------------------------------------------------------------------------

MAX_DATAGRAM: Final = 1232
"""IPv6's smallest MTU (1280) less the IP and UDP headers: never fragmented. Anything longer is dropped unread."""
DISCOVERY_ADDRESSES: Final = 64
"""Addresses in one answer: 64 of 18 bytes fit into a datagram."""
COOKIE_SECONDS: Final = 60
"""How long a cookie is good, up to twice that: long enough for a round trip, too short to collect them."""
DISCOVERY_RATE: Final = 2.0
DISCOVERY_BURST: Final = 20.0
"""Datagrams taken from one source (one IP address; on a private network one address with its port)."""
DISCOVERY_TOTAL_RATE: Final = 200.0
DISCOVERY_TOTAL_BURST: Final = 400.0
"""Datagrams taken from all sources: sources can be forged, so this is what really bounds the work."""
DISCOVERY_SOURCES: Final = 1024
"""Sources whose rate is remembered; the longest silent is forgotten first."""
DISCOVERY_PARALLEL: Final = 3
"""Nodes asked at once in a lookup."""
DISCOVERY_WAIT_SECONDS: Final = 2.0
"""For an answer; loss is repaired by the next lookup, not by repeating."""
DISCOVERY_FIRST_SECONDS: Final = 0.25
DISCOVERY_CAP_SECONDS: Final = 60.0
"""Between two lookups: soon at first, when nodes of a new network start together, then doubling up to the cap."""
DISCOVERY_ALONE_SECONDS: Final = 4.0
"""The cap as long as nobody ever answered: the first known node may be starting just now."""
RESOLVE_SECONDS: Final = 5.0
"""Between two attempts to look up the names of known nodes that have no address yet, and for each attempt."""
PARALLEL_LOOKUPS: Final = 2
"""Names looked up at once: the system's resolver may block a thread for each."""
MAX_RESOLVED: Final = 8
"""Addresses taken from one name."""
LISTEN_BACKLOG: Final = 128
"""Links the system completes before we have taken them: the usual bound of Linux once was 128."""
DATAGRAM_QUEUE: Final = 256
"""Datagrams waiting to be sent; past it they are dropped, as the network may do anyway."""
MAX_SEEDS: Final = 64
"""Known nodes that lookups start from: more do not help, and each is asked now and then for ever."""
