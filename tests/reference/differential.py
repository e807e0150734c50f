"""Both implementations fed with the same bytes, until they disagree.

A case is a header, a transaction or a block with where it belongs. A script is the list of cases that were given to
fresh chains: it alone decides every verdict, so a disagreement is written down as the script that led to it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from consensus.codec import decode_block
from consensus.errors import ConsensusError
from consensus.params import Params
from node.chain import ChainManager
from node.chain_events import BlockStatus
from tests.reference.blocks import BODY_RULES
from tests.reference.chain import Chain, state_hash
from tests.reference.encoding import Refused
from tests.reference.subject import PARAMS, Subject, judge_transaction, network_of
from tests.reference.transactions import check_alone, decode_transaction

CRASH = "crash:"
Kind = Literal["header", "transaction", "block"]


class Case(NamedTuple):
    """Bytes, and what they are said to be."""

    kind: Kind
    raw: bytes


class Disagreement(Exception):
    """The two say different things. `script` repeats it."""

    def __init__(self, script: list[Case], ours: str, reference: str) -> None:
        super().__init__(f"case {len(script) - 1}, a {script[-1].kind}: consensus says {ours}, reference {reference}")
        self.script = script

    def write(self, path: Path) -> None:
        """Write down what repeats it."""
        cases = [[case.kind, case.raw.hex()] for case in self.script]
        path.write_text(json.dumps({"said": str(self), "cases": cases}, indent=1) + "\n")


def read_script(path: Path) -> list[Case]:
    """Read what `Disagreement.write` wrote."""
    return [Case(kind, bytes.fromhex(raw)) for kind, raw in json.loads(path.read_text())["cases"]]


class Pair:
    """A chain of each implementation, and a node's chain manager, which finds its way between branches."""

    def __init__(self, manager: ChainManager, params: Params = PARAMS) -> None:
        self.params = params
        self.subject = Subject(params)
        self.reference = Chain(network_of(params))
        self.manager = manager
        self.script: list[Case] = []
        self.verdicts: Counter[str] = Counter()
        """How many cases of a kind had an answer, as "block accept"; and "other rule" where only the names differ."""

    async def give(self, case: Case) -> str:
        """Give a case to both; return the verdict.

        Raises:
            Disagreement: if they say different things, or stand in different states.
        """
        self.script.append(case)
        if case.kind == "transaction":
            ours = answer(lambda raw: judge_transaction(self.params, raw), case.raw)
            theirs = answer(lambda raw: judge_alone(self.reference, raw), case.raw)
        elif case.kind == "header":
            ours, theirs = answer(self.subject.add_header, case.raw), answer(self.reference.add_header, case.raw)
        else:
            ours, theirs = answer(self.subject.add_block, case.raw), answer(self.reference.add_block, case.raw)
        self.require(CRASH not in ours + theirs, ours, theirs)
        self.verdicts[f"{case.kind} {ours}"] += 1
        if ours != theirs:
            body = case.kind == "block" and (ours in BODY_RULES) != (theirs in BODY_RULES)
            self.require("accept" not in {ours, theirs} and not body, ours, theirs)
            self.verdicts[f"other name: {ours}, {theirs}"] += 1
        if case.kind == "block":
            await self._compare_states(case.raw, ours)
        return ours

    async def _compare_states(self, raw: bytes, verdict: str) -> None:
        if verdict == "accept":
            block = decode_block(raw)
            self._compare("state", self.subject.state_hash(block.hash), state_hash(self.reference.states[block.hash]))
        try:
            block = decode_block(raw)
        except ConsensusError:
            return
        # The node says on a side branch no more than that it keeps the block: what is compared is where it stands.
        result = await self.manager.accept_block(block, wanted=True)
        refused = result.status in {BlockStatus.MUTATED, BlockStatus.INVALID}
        self.require(not refused or verdict != "accept", f"node: {result.status}, {result.error}", verdict)
        self._compare("tip", self.manager.tip.hash, self.reference.tip.header.id)

    def compare_stores(self, ours: bytes) -> None:
        """Compare the state hash of the node's store with that of the reference at its tip."""
        self._compare("state of the node", ours, state_hash(self.reference.state))

    def _compare(self, what: str, ours: bytes | None, theirs: bytes) -> None:
        self.require(ours == theirs, f"{what} {ours.hex() if ours else 'none'}", theirs.hex())

    def require(self, agreed: bool, ours: str, theirs: str) -> None:
        """Report a disagreement unless there is none."""
        if not agreed:
            raise Disagreement(list(self.script), ours, theirs)


def answer(judge: Callable[[bytes], str], raw: bytes) -> str:
    """Return what a judge says. To crash is an answer, and never the right one."""
    try:
        return judge(raw)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
        return f"{CRASH} {error!r}"


def judge_alone(chain: Chain, raw: bytes) -> str:
    """Let the reference judge a transaction, other than a coinbase, alone."""
    try:
        check_alone(chain.network, decode_transaction(raw))
    except Refused as refused:
        return refused.rule
    return "accept"
