"""fedpact: federated learning bound by a pact.

This package is what all sides agree on: the ledger, the store, the artifacts, the rules, the audit. Who acts on it is
in `fedpact_coordinator` and `fedpact_client`; `fedpact_simulation` puts a whole federation on one machine.
"""
