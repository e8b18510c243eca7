"""The process in which llama.cpp serves one file of weights to its parent. Knows only the line it is given.

One JSON object comes in on standard input (`path`, `context_tokens`, `key`, `parent`), one goes out on standard
output when the model is loaded (`url`). Standard input stays open as long as the parent lives.
"""

import ctypes
import json
import os
import signal
import sys
from typing import Any

SLOTS = 4
MAX_THREADS = 4
# A cancelled request leaves its slot after the batch in hand: with llama.cpp's 2048 that takes 20 s on two cores.
BATCH_TOKENS = 128
PROMPT_CACHE_MIB = 256
WARNINGS = 2

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until the parent is gone."""
    # The server drains its streams after these, and a terminal or a supervisor sends them to the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    order = json.loads(sys.stdin.buffer.readline())
    if sys.platform == "linux":
        # Loading holds the interpreter's lock, so until it is done only the kernel can end this with its parent.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != order["parent"]:
        return
    # The processors belong first to the server, whose other work is short.
    os.nice(5)
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        server = serve(order["path"], order["context_tokens"], order["key"])
    except RuntimeError as error:
        sys.exit(f"llama.cpp cannot serve {order['path']}: {error}")
    with answer:
        print(json.dumps({"url": server.listening_address}), file=answer)
    sys.stdin.buffer.read()
    # Answers in the making have no reader any more: they are not worth an orderly end.
    os._exit(0)


def serve(path: str, context_tokens: int, key: str) -> Any:
    """Load the weights and serve them on a free port of this machine alone, to whoever has the key."""
    import xllamacpp

    wanted = xllamacpp.CommonParams()
    wanted.model.path = path
    wanted.hostnames = ["127.0.0.1"]
    wanted.port = 0
    wanted.api_keys = [key]
    wanted.ui = False
    wanted.endpoint_slots = False
    wanted.use_jinja = True
    wanted.warmup = False
    wanted.verbosity = WARNINGS
    wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = min(MAX_THREADS, _processors())
    wanted.n_batch = wanted.n_ubatch = BATCH_TOKENS
    wanted.cache_ram_mib = PROMPT_CACHE_MIB
    # Room for every slot at its longest: where a shared cache runs full, llama.cpp breaks off all answers at once.
    wanted.n_parallel = SLOTS
    wanted.n_ctx = SLOTS * context_tokens
    wanted.kv_unified = True
    wanted.kv_unified_per_slot = context_tokens
    return xllamacpp.Server(wanted)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


if __name__ == "__main__":
    main()
