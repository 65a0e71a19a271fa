"""Block servers for members only: tokens, whom the ledger knows, and a server that asks for them."""

from __future__ import annotations

import http.client
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from chains import ACCOUNTS, CHARTER, COORDINATOR, GENESIS, KEYS, LIMITS, MEMBERS, OWNER, STRANGER, Twins
from eth_account.messages import _hash_eip191_message, encode_typed_data
from fedpact.errors import BlockMissing, InputError, LedgerError, Unreachable
from fedpact.ledger.actions import Admit, Appoint, Dismiss, OpenRound, Remove
from fedpact.ledger.facts import Address, Identity, RoundNumber, Terms
from fedpact.ledger.memory import MemoryLedger
from fedpact.ledger.port import Cursor, Follower, News
from fedpact.ledger.roll import Roll, accounts
from fedpact.store import Cid, MemoryBlocks, fetch
from fedpact.store.opening import open_store
from fedpact.store.remote.gateway import GatewayBlocks
from fedpact.store.serving import admission as admission_module
from fedpact.store.serving.admission import LIFETIME, LONGEST, TOLERANCE, Door, Reader, origin_of, sign
from fedpact.store.serving.server import BlockServer
from gateways import Gateway, respond
from hypothesis import example, given
from hypothesis import strategies as st

ORIGIN = "https://silo.example"
FEDERATION = Identity(31337, Address("0x5fbdb2315678afecb367f032d93f642f64180aa3"))
NOW = 1_763_737_200
MEMBER = KEYS[2]
DATA = b"what a silo trained"
CID = Cid.of(DATA)


class Clock:
    """A clock that is set."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def door(clock: Clock | None = None, known: frozenset[Address] | None = frozenset(MEMBERS)) -> Door:
    """A door to a federation's members."""
    return Door(FEDERATION, [ORIGIN], lambda: known, now=clock or Clock())


def token(*, key: int = 2, identity: Identity = FEDERATION, origin: str = ORIGIN, expires: int = NOW + 100) -> str:
    return sign(KEYS[key], identity, origin, expires)


# --------------------------------------------------------------------------------------------------------------- tokens


def test_what_is_signed_is_typed_data_as_any_wallet_signs_it() -> None:
    """EIP-712: the digest that the server checks is that of the message below, spelled out in full."""
    message = {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            "Read": [{"name": "origin", "type": "string"}, {"name": "expires", "type": "uint64"}],
        },
        "primaryType": "Read",
        "domain": {
            "name": "fedpact store",
            "version": "1",
            "chainId": FEDERATION.chain_id,
            "verifyingContract": FEDERATION.contract,
        },
        "message": {"origin": ORIGIN, "expires": NOW},
    }
    expected = _hash_eip191_message(encode_typed_data(full_message=message))
    assert door()._digest(ORIGIN, NOW) == expected
    signature = MEMBER.unsafe_sign_hash(expected).signature.hex()
    assert token(expires=NOW).endswith(f"signature=0x{signature.removeprefix('0x')}")


def test_a_token_is_text_that_does_not_change() -> None:
    """The same key, server, federation and end give the same header: other programs can make it too."""
    assert token(expires=NOW) == (
        "Fedpact address=0x6813eb9362372eef6200f3b1dbc3f819671cba69, expires=1763737200, "
        'origin="https://silo.example", signature=0x316d8fccd03a90d6935c2071c34c43153cf4c62cdb88debcfa555448744edfee'
        "0079101219d4fc65f51176c9ae666b7e8ae7a48e921ba5dbe0a20157b6ef6f4a1b"
    )


def test_a_members_token_is_good_until_it_ends() -> None:
    """As often as it is shown, and a minute longer for clocks that are slow."""
    clock = Clock()
    guarded, shown = door(clock), token(expires=NOW + LIFETIME)
    for later in (0, 1, LIFETIME, LIFETIME + TOLERANCE):
        clock.now = NOW + later
        assert guarded.refusal(shown) is None
    clock.now = NOW + LIFETIME + TOLERANCE + 1
    refusal = guarded.refusal(shown)
    assert refusal is not None
    assert (refusal.status, refusal.why) == (401, f"expired {TOLERANCE + 1} s ago: check the clock")


HIGH = bytes.fromhex(token()[-130:])
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
SECOND_FORM = (
    HIGH[:32] + (ORDER - int.from_bytes(HIGH[32:64])).to_bytes(32) + bytes([55 - HIGH[64]])
)  # The same signature for whoever does not look: malleable.
REFUSED = {
    "nothing": (None, "not signed: this store is for members"),
    "an empty text": ("", "expected a token of the scheme Fedpact"),
    "a password": ("Basic dXNlcjpwYXNz", "expected a token of the scheme Fedpact"),
    "more behind it": (token() + ", more", "expected a token of the scheme Fedpact"),
    "a signature that is too short": (token()[:-2], "expected a token of the scheme Fedpact"),
    "a line break": (token().replace(", origin", ",\norigin"), "expected a token of the scheme Fedpact"),
    "another server": (
        token(origin="https://other.example"),
        "for another server: expected https://silo.example, found https://other.example",
    ),
    "the same host without TLS": (token(origin="http://silo.example"), "for another server"),
    "one that is over": (token(expires=NOW - 100), "expired 100 s ago: check the clock"),
    "one that is too long": (
        token(expires=NOW + LONGEST + 1),
        "expires in 601 s, expected at most 600 s: check the cl",
    ),
    "a stranger": (token(key=7), f"not a member: {STRANGER}"),
    "another federation": (token(identity=Identity(31337, Address("0x" + "1" * 40))), "not signed by 0x6813eb"),
    "another chain": (token(identity=Identity(1, FEDERATION.contract)), "not signed by 0x6813eb"),
    "a member's name on another's signature": (token(key=7).replace(STRANGER, MEMBERS[0]), "not signed by 0x6813eb"),
    "a later end": (token().replace(str(NOW + 100), str(NOW + 200)), "not signed by 0x6813eb"),
    "no point of the curve": (token()[:-130] + "ff" * 65, "not signed by 0x6813eb"),
    "zeros": (token()[:-130] + "00" * 64 + "1b", "not signed by 0x6813eb"),
    "the second form of a signature": (token()[:-130] + SECOND_FORM.hex(), "not signed by 0x6813eb"),
    "a recovery number of others": (token()[:-2] + "00", "not signed by 0x6813eb"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_members_token_is_refused(name: str) -> None:
    """401 and one line that says why; a token that is good is let in before and after."""
    guarded = door()
    shown, why = REFUSED[name]
    assert guarded.refusal(token()) is None
    for _ in range(2):  # Nothing is remembered that was refused.
        refusal = guarded.refusal(shown)
        assert refusal is not None
        assert refusal.status == 401
        assert refusal.why.startswith(why)
        assert refusal.why.isascii()
        assert refusal.why.isprintable()
        assert '"' not in refusal.why
    assert guarded.refusal(token()) is None


@given(at=st.integers(0, len(token()) - 1), to=st.characters())
@example(at=0, to="f")
@example(at=token().index("s"), to="\u017f")  # To whoever ignores case it is an s.
@example(at=token().index("silo"), to="S")
@example(at=len(token()) - 1, to="B")
def test_no_character_of_a_token_can_be_changed(at: int, to: str) -> None:
    """Wherever a token is touched it is refused, unless that is the scheme in other letters."""
    good = token()
    touched = good[:at] + to + good[at + 1 :]
    same = touched == good or (at < len("Fedpact") and to.isascii() and touched.lower() == good.lower())
    assert (door().refusal(touched) is None) == same


@given(st.text(max_size=300))
def test_any_text_is_refused(text: str) -> None:
    """Whatever it is."""
    assert door().refusal(text) is not None
    assert door().refusal(f"Fedpact {text}") is not None


def test_a_signature_is_checked_once_and_the_account_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is removed is out with the next request, whatever was shown before."""
    checked = []
    signer = admission_module._signer
    monkeypatch.setattr(admission_module, "_signer", lambda *given: checked.append(given) or signer(*given))
    known = [frozenset(MEMBERS)]
    guarded = Door(FEDERATION, [ORIGIN], lambda: known[0], now=Clock())
    for _ in range(5):
        assert guarded.refusal(token()) is None
    assert len(checked) == 1
    known[0] = frozenset(MEMBERS[1:])
    refusal = guarded.refusal(token())
    assert refusal is not None
    assert refusal.why == f"not a member: {MEMBERS[0]}"


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member that signs a new token for each request takes no more memory than others."""
    monkeypatch.setattr(admission_module, "_TOKENS", 3)
    guarded = door()
    for expires in range(NOW, NOW + 10):
        assert guarded.refusal(token(expires=expires)) is None
    assert len(guarded._known) == 3
    assert guarded.refusal(token(expires=NOW)) is None


def test_where_nobody_knows_the_members_nobody_is_let_in() -> None:
    """503: it is the server's trouble, and may pass."""
    refusal = door(known=None).refusal(token())
    assert refusal is not None
    assert refusal.status == 503


# --------------------------------------------------------------------------------------------------- who signs requests


def test_a_token_is_signed_anew_when_half_of_its_time_is_over() -> None:
    """Not for each block; another server has another one; a clock that was set back makes a new one too."""
    clock = Clock()
    reader = Reader(MEMBER, FEDERATION, now=clock)
    first = reader.token(ORIGIN)
    assert door().refusal(first) is None
    clock.now += LIFETIME // 2
    assert reader.token(ORIGIN) == first
    assert reader.token("https://other.example") != first
    clock.now += 1
    second = reader.token(ORIGIN)
    assert second != first
    clock.now -= 1000
    assert reader.token(ORIGIN) not in (first, second)
    assert door(clock).refusal(reader.token(ORIGIN)) is None


@pytest.mark.parametrize("off", [-LIFETIME // 2 - TOLERANCE, LONGEST - LIFETIME])
def test_a_clock_may_be_minutes_off(off: int) -> None:
    """Whenever a reader asks whose clock is three minutes slow or five minutes fast, it is let in."""
    server, own = Clock(), Clock(NOW + off)
    reader, guarded = Reader(MEMBER, FEDERATION, now=own), door(server)
    for _ in range(3 * LIFETIME):
        assert guarded.refusal(reader.token(ORIGIN)) is None
        server.now, own.now = server.now + 1, own.now + 1


def test_threads_share_one_token() -> None:
    """Many at once sign once."""
    reader = Reader(MEMBER, FEDERATION, now=Clock())
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(reader.token, [ORIGIN] * 100))) == 1
    assert MEMBER.key.hex() not in repr(reader) + repr(vars(reader))


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Silo.Example", "https://silo.example"),
        ("https://silo.example:443/path/", "https://silo.example"),
        ("http://silo.example:80", "http://silo.example"),
        ("http://silo.example:443", "http://silo.example:443"),
        ("https://silo.example:8443/", "https://silo.example:8443"),
        ("http://127.0.0.1:8181", "http://127.0.0.1:8181"),
        ("http://[::1]:8181/ipfs", "http://[::1]:8181"),
    ],
)
def test_a_server_has_one_name(url: str, origin: str) -> None:
    """However its URL is written."""
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    "url",
    [
        "",
        "silo.example",
        "ftp://host",
        "http://",
        "http://host:0",
        "http://h:x",
        "http://ö",
        'http://a"b',
        "http://[::1",
        "http://user@host",
        "http://host?x",
    ],
)
def test_what_is_no_server_has_none(url: str) -> None:
    """One line that does not show the URL."""
    with pytest.raises(InputError, match="URL: expected http://host:port or https://host, in ASCII; found otherwise"):
        origin_of(url)


# ----------------------------------------------------------------------------------------------- whom the ledger knows


def ledger() -> MemoryLedger:
    """A federation with a coordinator and members."""
    made = MemoryLedger(OWNER, CHARTER, GENESIS, LIMITS, identity=FEDERATION, now=NOW)
    made.send(OWNER, Admit(tuple(MEMBERS)))
    made.send(OWNER, Appoint(COORDINATOR))
    return made


def test_members_coordinators_and_the_owner_are_known() -> None:
    """Who comes counts before its first round, who goes counts no more in the middle of one."""
    made = ledger()
    assert accounts(made.view) == {OWNER, COORDINATOR, *MEMBERS}
    now = made.now()
    made.send(COORDINATOR, OpenRound(RoundNumber(1), Terms(0, 0, now + 100, now + 200, 1)))
    made.send(OWNER, Admit((ACCOUNTS[6],)))
    made.send(OWNER, Remove(MEMBERS[0]))
    assert accounts(made.view) == {OWNER, COORDINATOR, *MEMBERS[1:], ACCOUNTS[6]}
    made.send(OWNER, Dismiss(COORDINATOR))
    assert accounts(made.view) == {OWNER, *MEMBERS[1:], ACCOUNTS[6]}


class Flaky:
    """A ledger that can be out of reach."""

    def __init__(self, inner: MemoryLedger) -> None:
        self.inner, self.identity, self.dead = inner, inner.identity, False

    def read(self, cursor: Cursor) -> News:
        if self.dead:
            raise LedgerError("rpc: no connection")
        return self.inner.read(cursor)


def test_the_last_list_holds_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    """Where the ledger is out of reach, that is said once, and in the end nobody is known; then it answers again."""
    flaky, clock = Flaky(ledger()), Clock(0)
    roll = Roll(Follower(flaky), kept=600, clock=clock)  # type: ignore[arg-type]  # As much of one as is asked.
    flaky.inner.send(OWNER, Remove(MEMBERS[0]))
    flaky.dead = True
    with caplog.at_level(logging.INFO):
        for clock.now in range(0, 601, 100):
            roll.look()
            assert roll() == {OWNER, COORDINATOR, *MEMBERS}
        clock.now = 601
        assert roll() is None
        assert [each.getMessage() for each in caplog.records] == [
            "rpc: no connection; who was a member counts as one for 600 s at most"
        ]
        flaky.dead = False
        roll.look()
    assert caplog.records[-1].getMessage() == "the ledger answers again: 5 accounts"
    assert roll() == {OWNER, COORDINATOR, *MEMBERS[1:]}


def test_a_thread_looks_again_and_again() -> None:
    """Until it is stopped; who was removed is out soon."""
    made = ledger()
    roll = Roll(Follower(made), every=0.01)
    roll.start()
    made.send(OWNER, Remove(MEMBERS[0]))
    end = time.monotonic() + 20
    while MEMBERS[0] in (roll() or ()):
        assert time.monotonic() < end, "nobody looked"
        time.sleep(0.01)  # Waiting for another thread; bounded above.
    roll.stop()
    roll._thread.join(20)
    assert not roll._thread.is_alive()


def test_a_thread_outlives_an_error_that_nobody_expected(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said in one line, and the next look finds who was removed."""
    made = ledger()
    follower = Follower(made)
    roll = Roll(follower, every=0.01)
    made.send(OWNER, Remove(MEMBERS[0]))
    refresh, failures = follower.refresh, iter([RuntimeError("a mistake\nof " + "x" * 1000)])

    def fails_once() -> object:
        for failure in failures:
            raise failure
        return refresh()

    monkeypatch.setattr(follower, "refresh", fails_once)
    roll.start()
    end = time.monotonic() + 20
    while MEMBERS[0] in (roll() or ()):
        assert time.monotonic() < end, "nobody looked"
        time.sleep(0.01)  # Waiting for another thread; bounded above.
    roll.stop()
    roll._thread.join(20)
    (said,) = [each.getMessage() for each in caplog.records]
    assert said.startswith("the ledger could not be read: RuntimeError: a mistake of xxx")
    assert len(said) < 300


def test_nobody_is_served_by_a_list_that_was_never_read() -> None:
    """A ledger that is out of reach at the start is an error."""
    flaky = Flaky(ledger())
    flaky.dead = True
    with pytest.raises(LedgerError, match="no connection"):
        Roll(Follower(flaky))  # type: ignore[arg-type]  # As above.


# ------------------------------------------------------------------------------------------------- a server for members


@pytest.fixture
def served() -> Iterator[SimpleNamespace]:
    """A server for members with one block."""
    blocks = MemoryBlocks()
    blocks.put(CID, DATA)
    found = SimpleNamespace(known=frozenset(MEMBERS), opened=[])

    def make(url: str) -> Door:
        return Door(FEDERATION, [origin_of(url)], lambda: found.known)

    found.server = BlockServer(blocks, door=make)
    found.server.start()
    found.url = found.server.url

    def gateway(key: int | None = 2, identity: Identity = FEDERATION) -> GatewayBlocks:
        reader = None if key is None else Reader(KEYS[key], identity)
        url = found.url
        found.opened.append(GatewayBlocks(url, authorization=reader and (lambda: reader.token(url))))
        return found.opened[-1]

    found.gateway = gateway
    yield found
    for each in found.opened:
        each.close()
    found.server.stop()


def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """One request for the block."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    try:
        connection.request(method, f"/ipfs/{CID}?format=raw", headers=headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): each for name, each in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def test_a_member_reads_and_no_shared_cache_keeps_it(served: SimpleNamespace) -> None:
    """Block and question are answered; the answer is for this reader alone."""
    gateway = served.gateway()
    assert fetch(gateway, CID) == DATA
    assert gateway.has(CID)
    with pytest.raises(BlockMissing) as caught:
        gateway.get(Cid.of(b"not here"))
    assert not isinstance(caught.value, Unreachable)
    status, headers, body = ask(served.url, Authorization=Reader(MEMBER, FEDERATION).token(served.url))
    assert (status, body) == (200, DATA)
    assert headers["cache-control"] == "private, max-age=29030400, immutable"
    assert headers["vary"] == "Accept, Authorization"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_who_does_not_sign_is_told_how(served: SimpleNamespace, method: str) -> None:
    """401 with the reason, in a header too; nothing of the store, not even whether a block is here."""
    why = "not signed: this store is for members, who read it as member+http://..."
    for named in ({}, {"If-None-Match": f'"{CID}.raw"'}):
        status, headers, body = ask(served.url, method, **named)
        assert (status, body) == (401, b"" if method == "HEAD" else f"{why}\n".encode())
        assert headers["www-authenticate"] == f'Fedpact error="{why}"'
        assert headers["cache-control"] == "no-store"
        assert "etag" not in headers


def test_a_reader_who_is_refused_says_so_and_does_not_ask_again(served: SimpleNamespace) -> None:
    """One line for whoever waits, at once for each further block; a member among the stores goes on."""
    for key, identity, why in (
        (None, FEDERATION, "not signed: this store is for members, who read it as member+http://..."),
        (7, FEDERATION, f"not a member: {STRANGER}"),
        (
            2,
            Identity(1, FEDERATION.contract),
            f"not signed by {MEMBERS[0]} for the federation of this store: chain 31337",
        ),
    ):
        gateway = served.gateway(key, identity)
        for call in (gateway.get, gateway.has, gateway.get):
            with pytest.raises(Unreachable) as caught:
                call(CID)
            assert str(caught.value).startswith(f"block {CID}: gateway {served.url}: refuses: {why}")
            assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("challenge", "said"),
    [
        ('Fedpact error="expired 100 s ago: check the clock"', "refuses: expired 100 s ago: check the clock"),
        ('Basic realm="log in"', "answers with HTTP status 401"),
        ('Fedpact error="\x1b[31mred"', "answers with HTTP status 401"),
        (f'Fedpact error="{"x" * 1000}"', "answers with HTTP status 401"),
        ("", "answers with HTTP status 401"),
    ],
)
def test_what_a_server_says_of_a_refusal_is_bounded(challenge: str, said: str) -> None:
    """Asked once for many blocks; only what a server of ours says is shown."""
    with Gateway(lambda to: respond(to, b"no", status=401, www_authenticate=challenge)) as server:
        gateway = GatewayBlocks(server.url)
        for _ in range(5):
            with pytest.raises(Unreachable) as caught:
                gateway.get(CID)
            assert str(caught.value) == f"block {CID}: {gateway.name}: {said}"
        assert len(server.asked) == 1
        gateway.close()


def test_who_is_removed_is_out_and_who_is_admitted_is_in(served: SimpleNamespace) -> None:
    """As soon as the list says so, on connections that are open."""
    gateway, stranger = served.gateway(), served.gateway(7)
    assert gateway.get(CID) == DATA
    served.known = frozenset([STRANGER])
    with pytest.raises(Unreachable, match="not a member"):
        gateway.get(CID)
    assert stranger.get(CID) == DATA


def test_stores_of_members_by_url(served: SimpleNamespace) -> None:
    """`member+http://…` signs, `gateway+http://…` never does: nobody else is shown a signature."""
    reader = Reader(MEMBER, FEDERATION)
    stores = open_store([f"member+{served.url}"], writable=False, reader=lambda: reader)
    assert fetch(stores, CID) == DATA
    stores.close()
    shown: list[str | None] = []
    with Gateway(lambda to: (shown.append(to.headers["Authorization"]), respond(to, DATA))) as server:  # type: ignore[arg-type,return-value]  # Nothing is made of it.
        for scheme in ("gateway", "member"):
            stores = open_store([f"{scheme}+{server.url}/below"], writable=False, reader=lambda: reader)
            assert fetch(stores, CID) == DATA
            stores.close()
        assert shown == [None, reader.token(server.url)]


def test_nobody_is_asked_for_a_key_in_vain() -> None:
    """Whoever opens other stores needs none; without one a store of members is refused."""

    def reader() -> Reader:
        raise AssertionError("asked for a key")

    open_store(["gateway+http://127.0.0.1:9"], writable=False, reader=reader).close()
    with pytest.raises(AssertionError):
        open_store(["member+http://127.0.0.1:9"], writable=False, reader=reader)
    with pytest.raises(InputError, match=r"^store: a store of members \(member\+http://…\) is not read here: nobody"):
        open_store(["member+http://127.0.0.1:9"], writable=False)


def test_members_come_and_go_on_a_chain(twins: Twins) -> None:
    """The contract on an EVM says who is let in."""
    identity = twins.chain.identity
    blocks = MemoryBlocks()
    blocks.put(CID, DATA)
    roll = Roll(Follower(twins.chain))
    server = BlockServer(blocks, door=lambda url: Door(identity, [origin_of(url)], roll))
    server.start()
    try:
        member, stranger = (
            GatewayBlocks(server.url, authorization=lambda key=key: Reader(KEYS[key], identity).token(server.url))  # type: ignore[misc]  # A default is how a lambda keeps what it was made for.
            for key in (2, 7)
        )
        assert member.get(CID) == DATA
        with pytest.raises(Unreachable, match=f"refuses: not a member: {STRANGER}"):
            stranger.get(CID)
        twins.must(OWNER, Remove(MEMBERS[0]), Admit((STRANGER,)))
        roll.look()
        with pytest.raises(Unreachable, match=f"refuses: not a member: {MEMBERS[0]}"):
            member.get(CID)
        stranger._unreachable = (0.0, "")  # Its rest is over.
        assert stranger.get(CID) == DATA
        member.close()
        stranger.close()
    finally:
        server.stop()
