"""Bounds on what others can make the chain manager keep, each with its reason."""

from __future__ import annotations

LOW_WORK_MARGIN = 144
"""A header is stored only if its chain's work is at least that of the tip less this many blocks of the
tip's difficulty (Bitcoin Core: the anti-DoS work threshold). So what a stranger can make us store costs
real work near today's difficulty, wherever it forks off (A052, A053). A run of headers is judged by its
last one."""
MAX_UNBACKED_HEADERS = 50_000
"""Headers without a body: how far headers may run ahead of blocks, about 20 MiB. A window that moves on
as bodies arrive, so a fresh node, which has no work to compare with, is bounded too (A052)."""
MAX_EARLY = 64
"""Headers, and blocks, that are ahead of our clock: at an ideal spacing of 5 s two minutes hold 24."""
MAX_EARLY_BYTES = 16 * 1024 * 1024
"""Of the bodies among them: four full blocks."""
MAX_QUEUE_BYTES = 64 * 1024 * 1024
"""Encoded blocks that may wait for the chain manager; beyond it `accept_block` waits before it enqueues."""
BATCH_BYTES = 16 * 1024 * 1024
"""Encoded blocks in one write: four full ones, or thousands of empty ones, so that a sync pays few fsyncs
while the memory of a step stays bounded."""
BATCH_BLOCKS = 1_000
"""Blocks in one write: how many a crash during a sync can lose the connecting of."""
BATCH_COINS = 200_000
"""Coins that a step may hold in memory before it is written, about 100 MiB."""
BATCH_CHECKS = 40_000
"""Signatures that a step collects before they are verified: two full blocks."""
UPDATE_BYTES = 1024 * 1024
"""Encoded blocks that a follower is handed at once; one block at least. It holds, decoded, ten times as many."""
STATES_KEPT = 256
"""Chain states kept at hand; any other is rebuilt from eleven headers."""
WARN_OF_CLOCK_SECONDS = 3_600
"""At most so often the log says that this machine's clock may be wrong."""
MAX_LOGGED_REWARDS = 10
"""Lost rewards that a log line spells out; the rest is a number and a sum."""
