"""Commands as processes that need not import everything anew: each is forked from one that has.

A command of `fedpact` spends most of its time on the imports of web3 and scikit-learn, hundreds of times in a run of
the tests. What is forked is a process like any other: arguments, variables, directory, files, signals and its way to
end are its own. Tests of how `fedpact` starts, or of signals, start the command itself.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

PRELOADED = (
    "fedpact.cli.application",
    "fedpact_client.command",
    "fedpact_coordinator.command",
    "fedpact_simulation.devnet",
    "fedpact_simulation.federation",
    "eth_tester",
    "web3",
    "sklearn.datasets",
    "sklearn.linear_model",
    "sklearn.neural_network",
)
_REQUEST = 1 << 20


def run(
    arguments: Sequence[str], *, cwd: Path | None, timeout: float, environment: Mapping[str, str], typed: str | None
) -> subprocess.CompletedProcess[str]:
    """What `subprocess.run([FEDPACT, *arguments], …)` gives.

    Raises:
        subprocess.TimeoutExpired: it did not end in time, and was killed.
    """
    request = {"arguments": list(arguments), "cwd": str(cwd or Path.cwd()), "environment": dict(environment)}
    with contextlib.ExitStack() as stack:
        given, out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(3))
        given.write((typed or "").encode())
        given.seek(0)
        ours, theirs = socket.socketpair()
        stack.enter_context(ours)
        with theirs:
            files = [given.fileno(), out.fileno(), err.fileno(), theirs.fileno()]
            socket.send_fds(_server(), [json.dumps(request).encode()], files)
        ours.settimeout(timeout)
        with ours.makefile("r") as answers:
            pid = int(answers.readline())
            try:
                code = int(answers.readline())
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(["fedpact", *arguments], timeout) from None
        written = []
        for file in (out, err):
            file.seek(0)
            written.append(file.read().decode())
    return subprocess.CompletedProcess(["fedpact", *arguments], code, *written)


@functools.cache
def _server() -> socket.socket:
    """What takes requests, one datagram each; it ends with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())], stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
        )
    atexit.register(process.wait)
    atexit.register(ours.close)
    return ours


def _serve(requests: socket.socket) -> None:
    """Forks for each request. Returns in the process that is to be the command, and at the end."""
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Nobody waits for those who wait for commands.
    while True:
        message, files, _, _ = socket.recv_fds(requests, _REQUEST, 4)
        if not message:
            sys.exit()
        if os.fork() == 0:
            break
        for each in files:
            os.close(each)
    requests.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *standard, answers = files
    command = os.fork()
    if command:
        with socket.socket(fileno=answers) as answer:
            answer.sendall(f"{command}\n".encode())
            _, status = os.waitpid(command, 0)
            with contextlib.suppress(BrokenPipeError):  # Who asked does not wait any more.
                answer.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os._exit(0)
    os.close(answers)
    for number, each in enumerate(standard):
        os.dup2(each, number)
        os.close(each)
    request = json.loads(message)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["fedpact", *request["arguments"]]


if __name__ == "__main__":
    from fedpact.cli import main

    _serve(socket.socket(fileno=int(sys.argv[1])))
    main()
