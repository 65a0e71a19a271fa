"""Stores that are reached over HTTP: `gateway` reads from trustless gateways, `kubo` is an IPFS node as a store.

`node` is the port to a node's RPC, with one adapter over httpcore (`node_http`) and one over the package of that name
(`node_ipfshttpclient`); `http` and `deadline` are what all of them stand on.
"""
