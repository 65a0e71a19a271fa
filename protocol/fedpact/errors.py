"""Every expected failure, as one tree.

    FedpactError                      1  something that the user can act on
    ├── InputError                    2  what the user gave cannot be used
    │   ├── CharterError                 a charter that is not one
    │   └── NotInstalled                 a rule that a charter names, and that is not installed here
    ├── ContentError                  1  bytes that are not what they should be
    │   ├── InvalidCid                   text or bytes that are no address of ours
    │   ├── BlockMismatch                a block that does not hash to its address
    │   ├── InvalidDag                   a root that is not the DAG of a file of the expected size
    │   │   └── Unusable                 a file of weights that no rule can take (`fedpact.weights_file`)
    │   ├── InvalidWeights               bytes that are not the weights that the charter fixes
    │   ├── InvalidStart                 a base model, or an optimiser's state, that no round can go on from
    │   └── InvalidDocument              bytes that are no canonical JSON document of the expected format
    ├── StoreError                    1  a store that cannot do what was asked
    │   └── BlockMissing                 a block that the store does not have
    │       └── Unreachable              a block that only a store which gives no answer may have
    ├── LedgerError                   1  a ledger that cannot do what was asked
    │   ├── RecordDamaged                a record that cannot be read
    │   ├── RecordInconsistent           entries that the contract cannot have written
    │   ├── OutOfRange                   a value that its type on the ledger cannot hold (`fedpact.ledger.facts`)
    │   ├── NoAnswer                     no endpoint of a chain gave an answer (`fedpact.ledger.endpoints`)
    │   ├── RequestRefused               a request that a node answered with an error (`fedpact.ledger.node`)
    │   ├── NotTaken                     a transaction that a node refused to take (`fedpact.ledger.transactions`)
    │   ├── Superseded                   a transaction whose nonce another has (`fedpact.ledger.outbox`)
    │   └── ContractRejected             the contract refused; one `Rejection` per error (`fedpact.ledger.rejections`)
    ├── RuleFailed                    1  a rule that made no model of good updates
    ├── WrongArithmetic               1  a process that does not compute as IEEE 754 says
    ├── TrainingFailed                1  a trainer that gave no usable update
    ├── TooFew                        1  fewer usable files than a rule needs (`fedpact.offline`)
    ├── Pointless                     1  what cannot be asked of a federation as it is now (`fedpact.administration`)
    └── NotChecked                    2  a check that could not be carried out (`fedpact.cli.options`)

    Interrupted                     130  the user or the system asked to stop; like KeyboardInterrupt it is no Exception

The number is the exit code of a command that ends with the error. `str(error)` is one line that names the thing, what
was expected and what was found; where the kind of the error alone says what helps, that is its `advice`, which a
command adds to the line.
"""

from __future__ import annotations


class FedpactError(Exception):
    """Something that the user can act on."""

    exit_code = 1
    advice = ""

    @property
    def in_full(self) -> str:
        """The error as a command says it: with what to do next, where its kind tells."""
        line = str(self)
        return f"{line}{' ' if line.endswith('?') else '; '}{self.advice}" if self.advice else line


class InputError(FedpactError):
    """What the user gave cannot be used."""

    exit_code = 2


class CharterError(InputError):
    """A charter that is not one."""


class NotInstalled(InputError):
    """A rule that a charter names, and that is not installed here. Nothing is wrong with the charter."""

    advice = "fedpact rules lists what is installed"


class ContentError(FedpactError):
    """Bytes that are not what they should be."""


class InvalidCid(ContentError):
    """Text or bytes that are no content address of the kind used here."""


class BlockMismatch(ContentError):
    """A block whose bytes do not hash to its address.

    Attributes:
        expected: the address that was asked for.
        found: the address of the bytes that came, or a description where they were too many to hash.
    """

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(f"block {expected}: its bytes hash to {found}")
        self.expected, self.found = expected, found

    @property
    def in_words(self) -> str:
        """What was found, without the address that was asked for."""
        return f"which hash to {self.found}"


class InvalidDag(ContentError):
    """A root that is not the DAG of a file of the expected size."""


class InvalidWeights(ContentError):
    """Bytes that are not the weights that the charter fixes."""


class InvalidStart(ContentError):
    """A base model, or an optimiser's state, that no round can go on from.

    Attributes:
        what: the thing: `base`, `state, momentum`, ….
        address: where it is.
        found: what is wrong with it.
    """

    def __init__(self, what: str, address: str, found: str) -> None:
        super().__init__(f"{what} {address}: {found}")
        self.what, self.address, self.found = what, address, found


class InvalidDocument(ContentError):
    """Bytes that are no canonical JSON document of the expected format."""


class StoreError(FedpactError):
    """A store that cannot do what was asked."""


class BlockMissing(StoreError):
    """A block that the store does not have.

    Attributes:
        cid: the address that was asked for.
    """

    advice = "--store names a store that has it"

    def __init__(self, cid: str, store: str) -> None:
        super().__init__(f"block {cid}: not in {store}")
        self.cid = cid


class Unreachable(BlockMissing):
    """A block that only somebody else's store may have, and that one gives no usable answer. To whoever waits for the
    block it is missing, for now; a store of one's own that fails is a `StoreError` and nothing else.

    Attributes:
        cid: the address that was asked for.
    """

    advice = "try again later, or name another store with --store"

    def __init__(self, cid: str, why: str) -> None:
        StoreError.__init__(self, f"block {cid}: {why}")
        self.cid = cid


class LedgerError(FedpactError):
    """A ledger that cannot do what was asked."""


class RecordDamaged(LedgerError):
    """A record that cannot be read."""

    advice = "another copy of it, or another node, may have it whole"


class RecordInconsistent(LedgerError):
    """Entries that the contract cannot have written in this order."""


class ContractRejected(LedgerError):
    """The contract refused an action. Its subclasses are in `fedpact.ledger.rejections`."""


class WrongArithmetic(FedpactError):
    """A process that does not compute as IEEE 754 says, so that its models would not be everyone's."""


class RuleFailed(FedpactError):
    """A rule that made no model of good updates: a mistake in its code."""


class TrainingFailed(FedpactError):
    """A trainer that gave no usable update."""


class Interrupted(BaseException):
    """The user or the system asked the process to stop. Nobody who handles failures handles this by mistake.

    Attributes:
        exit_code: 128 plus the number of the signal, as a shell reports it.
    """

    def __init__(self, signal_number: int, message: str = "interrupted") -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
