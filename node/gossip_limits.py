"""Bounds and times of gossip between nodes, each with its reason. The wire's own are in `p2p.limits`."""

from __future__ import annotations

from typing import Final

# --- slots --------------------------------------------------------------------------------------------------------

MAX_OUTBOUND: Final = 8
"""Peers that we choose ourselves, as in Bitcoin Core: enough that one honest one among them is likely."""
MAX_INBOUND: Final = 117
"""Peers that chose us: with the outbound ones 125, Bitcoin Core's default."""
MAX_ADDED: Final = 64
"""Addresses that the operator may have us dial for ever (`--connect`, addnode)."""
MAX_CLOSING: Final = 8
"""Inbound links that may be closing beside those that are open: a flood evicts no faster than links go."""
MAX_INBOUND_PER_HOST: Final = 8
"""Links from one public host: a house behind one address, and not a flood (A079). Loopback has no such bound."""
DISCOURAGED_SHARE: Final = 2
"""A discouraged host may still come while fewer than one in so many inbound slots are taken."""
MAX_PARALLEL_DIALS: Final = 8
"""Dials at a time: a table full of dead addresses is then worked off at eight per `CONNECT_SECONDS`."""

# --- dialling -----------------------------------------------------------------------------------------------------

REDIAL_SECONDS: Final = 0.2
"""First wait before an address that the operator named is dialled again; doubled with each failure. So short because
nodes of a small network start together, and heal from a partition one after the other."""
REDIAL_CAP_SECONDS: Final = 10.0
"""Longest wait for such an address: the operator wants this peer, and a lost SYN every ten seconds is nothing."""
STEADY_SECONDS: Final = 20.0
"""A link that held so long was a success: the next failure starts the waiting anew. Less would be a storm (A085)."""
FILL_SECONDS: Final = 0.5
FILL_CAP_SECONDS: Final = 30.0
"""Between two looks for somebody to fill a free outbound slot with; doubled while nobody is found."""
SEED_RETRY_SECONDS: Final = 10.0
"""Before the name of a seed that could not be resolved is looked up again."""

LONELY_SECONDS: Final = 60.0
"""Without any peer, though somebody should be there, after which the log says so."""
LONELY_AGAIN_SECONDS: Final = 3600.0
"""Before it says so again."""

# --- misbehaviour -------------------------------------------------------------------------------------------------

DISCOURAGE_SCORE: Final = 100
"""Points at which a peer is dropped and discouraged, as in Bitcoin Core."""
MAX_DISCOURAGED: Final = 2_000
"""Hosts remembered as discouraged; the oldest goes (A101, CVE-2020-14198 was a table without bound)."""
DISCOURAGE_SECONDS: Final = 24 * 3600.0
"""How long: a host changes hands, a bug gets fixed."""

# --- addresses ----------------------------------------------------------------------------------------------------

MAX_ADDRESS_FILE = 32 * 1024 * 1024
"""Bytes of the file of addresses that are read at all: a full table of 81,920 has a third of that (A134)."""
SAVE_ADDRESSES_SECONDS: Final = 15 * 60.0
"""Between two savings of the address table: what a kill may lose."""
RELAY_ADDRESSES_AT_MOST: Final = 10
"""An `Addr` with more is an answer to somebody's question, not news to be passed on."""
FRESH_ADDRESS_SECONDS: Final = 10 * 60
"""An address seen longer ago is no news."""
RELAY_ADDRESS_TO: Final = 2
"""Peers that each new address is passed on to, as in Bitcoin Core: enough to flood, little enough to stay cheap."""

# --- headers ------------------------------------------------------------------------------------------------------

HEADERS_SECONDS: Final = 20.0
"""For an answer to `GetHeaders`: a peer that has not answered is no source of headers; an outbound one is replaced."""
MAX_UNCONNECTING: Final = 10
"""Announcements in a row that do not connect to what we know (Bitcoin Core: MAX_NUM_UNCONNECTING_HEADERS_MSGS). Each
costs a locator; an honest peer's next answer connects."""
MAX_PRESYNC_BATCHES: Final = 5_000
"""Full answers whose last id is kept while the work of a long branch is added up: 160 KB, ten million headers."""
ANNOUNCED_AT_ONCE: Final = 8
"""Headers in one announcement (Bitcoin Core: MAX_BLOCKS_TO_ANNOUNCE): after a deeper reorg the newest is enough, for
whoever lacks its parent asks."""

STALE_TIP_BLOCKS: Final = 20
STALE_TIP_LEAST_SECONDS: Final = 600
"""After so many spacings without a new tip, and at least so long, one more outbound peer is tried, and another after
each such time (A115): by chance a chain stands still for 20 spacings once in 500 million blocks, so our peers may be
stuck, or keep us from the others."""

# --- bodies -------------------------------------------------------------------------------------------------------

BLOCKS_PER_PEER: Final = 16
"""Bodies asked of one peer at a time, as in Bitcoin Core: hides the latency, and one slow peer holds up no more."""
BLOCK_WINDOW: Final = 1024
"""How far ahead of the first missing body others are fetched (Bitcoin Core: BLOCK_DOWNLOAD_WINDOW)."""
BLOCKS_IN_WORK: Final = 256
BLOCK_BYTES_IN_WORK: Final = 32 * 1024 * 1024
"""Bodies that may wait for the chain manager before no more are asked for: half of its own queue."""
SECOND_SOURCE_SECONDS: Final = 3.0
"""A body that has not come is asked of another peer as well, and of one more after each such time (A056, A094): the
first peer may be slow or lying, and needs no verdict."""
MAX_SOURCES: Final = 8
"""Peers asked for one body at a time: past a whole set of outbound peers nothing is gained."""
BODY_STALL_SECONDS: Final = 64.0
"""A peer that owes bodies and delivered none for so long is dropped: at 64 KiB/s the largest takes as long."""
DOWNLOAD_TICK_SECONDS: Final = 0.5
"""How often, while bodies are on their way, it is looked whether one is late."""

CATCHING_UP_BLOCKS: Final = 6
CATCHING_UP_SECONDS: Final = 5.0
"""So many blocks behind, and with a body in so many seconds, a node asks for no transactions: it lacks the coins that
they spend. Bodies that nobody delivers do not keep it from payments."""

# --- transactions -------------------------------------------------------------------------------------------------

ANNOUNCE_MEAN_SECONDS: Final = 0.05
"""Mean of the random wait before transactions are announced to a peer: batches them, and blurs who was first (A106)."""
ANNOUNCE_CAP_SECONDS: Final = 0.2
"""Longest such wait: a payment crosses four hops well within half a second."""
MAX_KNOWN_PER_PEER: Final = 5_000
"""Wtxids remembered as known to a peer, so that none is announced back; under 1 MB."""
MAX_TO_ANNOUNCE: Final = 5_000
"""Transactions waiting to be announced to one peer; the oldest goes. Half a minute of the fullest blocks."""
TX_REQUEST_SECONDS: Final = 10.0
"""Before a transaction is asked of its next announcer (A093): ten times what a loaded peer needs."""
MAX_TX_ANNOUNCED_PER_PEER: Final = 5_000
"""Wtxids that one peer may have announced and not delivered (Bitcoin Core: MAX_PEER_TX_ANNOUNCEMENTS; A089)."""
MAX_TX_ASKED_PER_PEER: Final = 100
"""Transactions asked of one peer at a time (Bitcoin Core: MAX_PEER_TX_REQUEST_IN_FLIGHT)."""
MAX_TX_IN_WORK_PER_PEER: Final = 200
"""Transactions of one peer waiting to be checked; then we stop reading from it until half are done."""
MAX_RECENTLY_EARLY: Final = 10_000
"""Wtxids of transactions that came early on this tip and are not kept: not asked for again until the tip moves."""

MAX_SPONSORS_TRIED: Final = 4
"""Children that are tried, newest first, when their parent pays too little by itself: most fail on their fee, which
costs little, and an honest sender has one (Bitcoin Core tries one of its sender)."""

# --- serving ------------------------------------------------------------------------------------------------------

MAX_WANTED_BY_PEER: Final = 2_000
"""Items one peer may have asked for and not yet been given; then we stop reading from it until half are served."""
UPLOAD_RATE: Final = 32.0 * 1024 * 1024
UPLOAD_BURST: Final = 64.0 * 1024 * 1024
"""Bytes of bodies a second for one peer: eight of the largest blocks, which no peer can verify in that time (A091)."""
HEADERS_RATE: Final = 20_000.0
HEADERS_BURST: Final = 40_000.0
"""Headers a second for one peer: ten full answers, each some 20 ms of reading; no peer checks them faster."""
SHARE_WAIT_SECONDS: Final = 0.125
"""Until a peer that has used up its share is served again: one of the largest blocks, or a full answer, is due then."""
SERVE_TURN: Final = 16
"""Items served before all other peers get a turn."""
RECENT_OUTLINES: Final = 4
"""Blocks kept at hand while they are being connected, and peers may ask for parts of them: 16 MiB at most."""
DRAFTS_PER_PEER: Final = 4
"""Blocks of one peer that wait for some of their transactions: more than are ever new at the same time."""
RAW_BLOCK_CACHE: Final = 8
"""Encoded blocks kept at hand: everybody asks for the newest ones at the same time."""
