"""A whole federation of real processes, and what may happen to it: kills, a node that dies or changes its mind, a
coordinator that lies. `scripts/chaos.py` is its command, `tests/test_chaos.py` its test.

    processes, node, proxy    what can be killed, and what stands between a service and its chain
    federation, trainer       the federation under test
    running, verdict          watching it, and judging what it left on the chain
    kills, faults, changes, speed     the four ordeals
"""
