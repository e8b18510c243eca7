"""What a child process that touches strangers' bytes does to itself first. Knows no recording."""

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with(parent: int, how: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel end this process with its parent; end it at once where that is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, how)
    if os.getppid() != parent:
        os._exit(0)


def confine(memory_bytes: int, cpu_seconds: int | None = None) -> None:
    """Leave the processors first to the server, and take no more than this of anything."""
    # The server drains its streams after these, and a terminal or a supervisor sends them to the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.nice(5)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    if cpu_seconds is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
