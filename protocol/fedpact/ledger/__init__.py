"""The contract as Python sees it.

`facts`, `events`, `actions`, `rejections` are its vocabulary; `view` folds events into state, `pact` is its rules,
`hashes` its hashes; `port` is the interface to a ledger, behind it `memory`, `ethereum` and the file `record`.
"""
