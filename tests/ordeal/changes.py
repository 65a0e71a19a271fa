"""What a federation goes through in a life: too few submit, its coordinator is gone for good, its charter is amended,
another coordinator lies, and the lie is disowned.

    1  all submit and a model is published
    2  two silos are killed before they send: the quorum is missed, the round cancelled
    3  published from the same base, by all
    4  the coordinator is killed for good before it publishes; a successor takes over
    5  under an amended charter, which silos accept by starting again
    6  the successor is killed as well, and a third coordinator takes over with a lie
    7  every silo refuses to train on the lie and disputes it; the owner cancels the round and rewinds
    8  the successor is back: the federation goes on from the right base, and
    9  ends as the charter says
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedpact.artifacts.charter import parse_toml
from fedpact.ledger.actions import Action, AmendCharter, CancelRound, Dismiss, Rewind
from fedpact.ledger.events import RoundAttested
from fedpact.ledger.facts import RoundNumber
from fedpact.ledger.view import Status

from ordeal.federation import Federation, Party, Wanted
from ordeal.liar import publish_a_lie
from ordeal.node import Chain
from ordeal.proxy import Moment
from ordeal.running import Run
from ordeal.verdict import judge

_PUBLISHED = 7
_SECONDS = 600  # Of a phase: nobody waits for it, time is moved on.


class Life:
    """One federation, chapter by chapter."""

    def __init__(self, run: Run) -> None:
        self._run, self._federation = run, run.federation
        self.first, self.successor, self.liar = run.federation.coordinators

    def live(self) -> dict[int, Any]:
        """All of it; returns the lies, by round."""
        self._miss_the_quorum()
        self._lose_the_coordinator()
        self._amend()
        lie = self._lie()
        self._disown()
        self._run.until_over()
        return {6: lie}

    def _miss_the_quorum(self) -> None:
        run, silos = self._run, self._federation.silos[2:]
        run.until(lambda: run.submitted(1) == len(self._federation.silos))
        for each in silos:
            self._kill_before_sending(each)
        run.until(lambda: run.submitted(2) == 2 and all(each.service.is_dead for each in silos))
        self._pass_deadline("submit_by")
        run.until(lambda: run.view.rounds[RoundNumber(2)].status is Status.CANCELLED)
        run.say("round 2 was cancelled: the quorum was missed")
        for each in silos:
            run.add(each)
        run.until(lambda: run.is_published(3))

    def _lose_the_coordinator(self) -> None:
        run = self._run
        self._kill_before_sending(self.first)
        run.until(lambda: self.first.service.is_dead)
        run.services.remove(self.first.service)
        path, self._amended = self._federation.write_charter(rounds=_PUBLISHED)
        self._federation.keep_charter(path, self.successor)
        self._own(AmendCharter(self._amended, parse_toml(path).contract_limits()))
        run.add(self.successor)
        self._pass_deadline("publish_by")
        run.until(lambda: run.is_published(4))
        taken = run.view.rounds[RoundNumber(4)].published_by
        assert taken == self.successor.account, f"round 4: expected the successor to publish it, found {taken}"

    def _amend(self) -> None:
        run = self._run
        run.until(lambda: run.number == 5)
        assert run.view.rounds[RoundNumber(5)].charter == self._amended, "round 5: expected the amended charter"
        for each in self._federation.silos:
            # Each must have seen that it may not go on before its owner agrees.
            run.until(lambda each=each: "refused: round 5 is under charter" in each.service.said())
            code = run.stop(each)
            assert code == 0, f"{each.name}: expected exit code 0 after SIGTERM, found {code}"
            self._federation.accept(each, self._federation.charters[-1])
            run.add(each)
        run.say("all silos accept the amended charter")
        self._kill_before_sending(self.successor, skip=1)
        run.until(lambda: run.is_published(5))

    def _lie(self) -> Any:
        run = self._run
        run.until(lambda: self.successor.service.is_dead and run.submitted(6) == len(self._federation.silos))
        self._pass_deadline("publish_by")
        lie = publish_a_lie(self._federation, self.liar)
        run.say(f"a lie is published as the model of round 6: {lie}")
        return lie

    def _disown(self) -> None:
        run, silos = self._run, self._federation.silos

        def disputes() -> set[str]:
            events = [entry.event for entry in run.entries]
            return {
                each.member
                for each in events
                if isinstance(each, RoundAttested) and each.round == 6 and not each.reproduced
            }

        run.until(lambda: disputes() == set(self._federation.accounts))
        run.until(
            lambda: all("refused: round 7 starts from the model of round 6" in each.service.said() for each in silos)
        )
        assert run.submitted(7) == 0, f"round 7: expected no submissions, found {run.submitted(7)}"
        run.say("all silos dispute the lie, and refuse to train on it")
        base = run.view.rounds[RoundNumber(6)].base
        self._own(Dismiss(self.liar.account), CancelRound(RoundNumber(7)), Rewind(RoundNumber(6), base))
        run.add(self.successor)
        run.until(lambda: run.is_published(8))
        assert run.view.rounds[RoundNumber(8)].base == base, "round 8: expected the base of round 6"

    # --------------------------------------------------------------------------------------------------- what it takes

    def _kill_before_sending(self, party: Party, *, skip: int = 0) -> None:
        """Kills a service before it sends, and does not start it again; so many transactions may go before."""

        def strike() -> None:
            party.service.wanted = False
            self._run.kill(party.service, Moment.BEFORE_SENDING.value)

        party.proxy.trap(Moment.BEFORE_SENDING, strike, skip=skip)

    def _pass_deadline(self, name: str) -> None:
        """Moves the chain's time past a deadline of the open round."""
        current = self._run.view.open_round
        assert current is not None, "expected an open round"
        latest = self._federation.chain.ask("eth_getBlockByNumber", "latest", False)
        to = int(getattr(current.terms, name)) + 1
        self._run.say(f"{to - int(latest['timestamp'], 16)} seconds pass, until after {name} of round {current.number}")
        self._federation.chain.ask("evm_increaseTime", max(1, to - int(time.time()) - self._ahead()))
        self._federation.chain.ask("evm_mine")

    def _ahead(self) -> int:
        """How far the chain's clock is ahead of this machine's."""
        pending = self._federation.chain.ask("eth_getBlockByNumber", "pending", False)
        return int(pending["timestamp"], 16) - int(time.time())

    def _own(self, *actions: Action) -> None:
        """What the owner does."""
        ledger = self._federation.ledger(self._federation.owner)
        for action in actions:
            ledger.send(ledger.owner(), action)
            self._run.say(f"the owner: {type(action).__name__}")
        ledger.close()


def run(directory: Path, seed: int, say: Callable[[str], None], end: float) -> dict[str, Any]:
    """Lets a federation live its life; returns what was found."""
    chain = Chain(directory)
    try:
        chain.start()
        wanted = Wanted(
            _PUBLISHED + 100,  # What the amended charter says counts.
            coordinators=3,
            quorum=3,
            submission_seconds=_SECONDS,
            publication_seconds=_SECONDS,
            training=(0.05, 0.2),
            rows=8,
        )
        federation = Federation(directory, chain, seed, wanted)
        try:
            watched = Run(federation, say, end)
            watched.start()
            wrong = Life(watched).live()
            found = judge(federation, rounds=_PUBLISHED, kills=sum(watched.kills.values()), wrong=wrong)
            watched.close()
        finally:
            federation.close()
    finally:
        chain.child.stop()
    return {"kills": sum(watched.kills.values()), **found.as_json()}
