"""Audit: every published model derived again from the ledger and the store, and compared.

Four questions, in this order. Could the contract have written this record (`fedpact.ledger.pact.replay`)? Do charters,
base and published artifacts say what the ledger says? Was every round opened while its charter let the federation go
on? Do the updates, by the charter's rule, become the very model and manifest that were published? What differs is a
`Finding` that names the round, the block, the ledger's value and the derived one; what could not be fetched makes a
round *unchecked*, never reproduced.

`walk` is the audit from the first entry to the last round. It stands on `record` (the record as a whole, always
checked) and `round` (one round). `findings` is what it answers, `progress` what it remembers, `report` what it writes.
`origin` answers another question: which round published a file.
"""

from fedpact.audit.findings import Audit, Audited, Finding, RoundAudit, Scope, Verdict
from fedpact.audit.walk import audit

__all__ = ["Audit", "Audited", "Finding", "RoundAudit", "Scope", "Verdict", "audit"]
