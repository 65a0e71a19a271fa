"""Offers: never beyond the cap, always enough for the next block, and raised by what nodes ask for."""

from __future__ import annotations

from typing import Any

import pytest
from fedpact.errors import InputError, LedgerError
from fedpact.ledger.fees import GWEI, Fees, Market, Offer, Quote, gwei, offer, raised
from hypothesis import given
from hypothesis import strategies as st
from sending import Faulty, Scripted
from web3 import Web3

AMOUNTS = st.integers(0, 10**12)
FEES = st.builds(Fees, st.integers(1, 10**12), st.integers(1, 10**11))
QUOTES = st.builds(Quote, AMOUNTS, st.integers(1, 10**12), st.just(0))


@given(QUOTES, FEES)
def test_an_offer_covers_the_base_fee_and_keeps_to_the_cap(quote: Quote, fees: Fees) -> None:
    """Where the base fee alone is above the cap there is none."""
    found = offer(quote, fees)
    assert (found is None) == (quote.base > fees.max_fee)
    if found is not None:
        assert quote.base <= found.max_fee <= fees.max_fee
        assert 0 <= found.tip <= min(fees.max_tip, found.max_fee)


@given(st.builds(Offer, AMOUNTS, AMOUNTS), QUOTES, FEES)
def test_a_raised_offer_is_an_eighth_higher_in_both_fields(before: Offer, quote: Quote, fees: Fees) -> None:
    """Or it does not exist, since the cap does not allow it."""
    found = raised(before, quote, fees)
    if found is not None:
        assert 8 * found.max_fee >= 9 * before.max_fee
        assert 8 * found.tip >= 9 * before.tip
        assert (found.max_fee > before.max_fee, found.tip > before.tip) == (True, True)
        assert quote.base <= found.max_fee <= fees.max_fee
        assert found.tip <= min(fees.max_tip, found.max_fee)
    elif quote.base <= fees.max_fee:
        wanted = max(before.max_fee * 9 // 8 + 1, before.tip * 9 // 8 + 1)
        assert wanted > min(fees.max_fee, fees.max_tip)


@given(QUOTES, st.builds(Fees, st.just(10**13), st.just(10**12)))
def test_a_fresh_offer_is_not_short(quote: Quote, fees: Fees) -> None:
    """With room below the cap nothing is replaced before the market moves."""
    found = offer(quote, fees)
    assert found is not None
    assert not found.is_short(quote)
    assert found.is_short(Quote(3 * quote.base + 2 * quote.tip, quote.tip, 0)) or quote.base == quote.tip == 0


@pytest.mark.parametrize("name", ["max_fee", "max_tip"])
def test_a_cap_of_nothing_is_refused(name: str) -> None:
    """Nothing could ever be sent."""
    with pytest.raises(InputError, match=f"^{name}: expected at least 1 wei, found 0$"):
        Fees(**{name: 0})


def test_amounts_are_shown_as_people_compare_them() -> None:
    """In gwei, without noise."""
    assert [gwei(each) for each in (1, GWEI, 1_500_000_000, 312 * GWEI)] == [
        "1e-09 gwei",
        "1 gwei",
        "1.5 gwei",
        "312 gwei",
    ]


class _Said(Scripted):
    """A node that says something else; what raises an `OSError` is not answered."""

    def __init__(self, **said: Any) -> None:
        super().__init__()
        self.said = said

    def answer(self, method: str, parameters: Any) -> Any:
        found = self.said.get(method, self)
        if isinstance(found, Exception):
            raise found
        return super().answer(method, parameters) if found is self else found


HISTORY = {"oldestBlock": "0x0", "baseFeePerGas": ["0x5", "0x7"], "reward": [["0x9"]]}
LOST = ConnectionError("reset")


@pytest.mark.parametrize(
    ("said", "base", "tip"),
    [
        ({"eth_feeHistory": HISTORY}, 7, GWEI),
        ({"eth_feeHistory": HISTORY, "eth_maxPriorityFeePerGas": LOST}, 7, 9),
        ({"eth_feeHistory": HISTORY, "eth_maxPriorityFeePerGas": "0x0"}, 7, 1),
        ({"eth_feeHistory": HISTORY, "eth_maxPriorityFeePerGas": "many"}, 7, 9),
        ({"eth_feeHistory": LOST}, GWEI * 9 // 8 + 1, GWEI),
        ({"eth_feeHistory": {"baseFeePerGas": []}, "eth_maxPriorityFeePerGas": LOST}, GWEI * 9 // 8 + 1, 1),
    ],
)
def test_what_a_node_does_not_say_is_replaced_by_what_it_does(said: dict[str, Any], base: int, tip: int) -> None:
    """The base fee of the next block from the history, or the most it can be; the tip as suggested, as paid, or one."""
    found = Market(Web3(_Said(**said).provider)).quote()
    assert (found.base, found.tip) == (base, tip)


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"number": "0x1"}, "^chain 31337: expected the rules of Prague or later, found blocks without a base fee$"),
        ({"number": "0x1", "baseFeePerGas": hex(1 << 2000)}, "^fees: expected a base fee, found 1"),
        ({"number": "0x1", "baseFeePerGas": "-0x5"}, "^fees: "),
        ("nonsense", "^fees: expected the answer of a node, found something else"),
        (LOST, r"^fees: no answer \(ConnectionError\)$"),
    ],
)
def test_a_market_that_is_none_is_named(block: Any, said: str) -> None:
    """One line, not too long."""
    with pytest.raises(LedgerError, match=said) as raised_:
        Market(Web3(_Said(eth_getBlockByNumber=block, eth_feeHistory=LOST).provider)).quote()
    assert len(str(raised_.value)) < 300


def test_one_quote_serves_everybody_for_a_second() -> None:
    """Unless a fresh one is asked for."""
    wire = Faulty(Scripted().provider)
    market = Market(Web3(wire))
    assert market.quote() is market.quote()
    assert wire.asked["eth_getBlockByNumber"] == 1
    market.quote(fresh=True)
    assert wire.asked["eth_getBlockByNumber"] == 2
