"""The supervisor with a worker that only says who it is: restarts, drain, deadlines, what it inherits."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hub.embedded.process import command_of
from tests.embedded.test_servers import until

ROOT = Path(__file__).parents[2]

PROGRAM = """
import os, signal, socket, sys, time
from pathlib import Path
from hub.process.listen import listening_sockets, url_of
from hub.process.services import Services
from hub.process.supervisor import Supervisor
from hub.telemetry import logs

def polite(listener, life, on_ready):
    'Answers every connection with its pid until SIGTERM; dies of `die`.'
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
    on_ready()
    listener.settimeout(0.05)
    while not ended:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        with connection:
            word = connection.recv(16)
            connection.sendall((" ".join(life.lost) if word == b"lost" else f"{os.getpid()}").encode())
            if word == b"die":
                os._exit(3)

def deaf(listener, life, on_ready):
    'Takes no notice of SIGTERM.'
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    on_ready()
    time.sleep(600)

def doomed(listener, life, on_ready):
    'Fails at its start.'
    raise RuntimeError("nothing works")

logs.configure('info', 'console')
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests under nohup has it ignored
body, workers, grace_s = globals()[sys.argv[1]], int(sys.argv[2]), float(sys.argv[3])
sockets = listening_sockets("127.0.0.1", 0, workers, 15)
supervisor = Supervisor(
    sockets, body, Services(Path("unused")), grace_s=grace_s,
    on_ready=lambda: print(url_of(sockets[0], "127.0.0.1"), flush=True), on_fork=lambda: None,
)
sys.exit(supervisor.run())
"""


class Hub:
    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port

    def ask(self, word: str = "who") -> int:
        """The pid of the worker that answers a new connection."""
        return int(self.say(word))

    def say(self, word: str) -> str:
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(word.encode())
            return connection.recv(1024).decode()

    def everyone(self, workers: int) -> set[int]:
        """The pids of all workers: the kernel spreads connections by chance."""
        pids: set[int] = set()

        def met() -> bool:
            pids.add(self.ask())
            return len(pids) == workers

        until(met)
        return pids

    def end(self, sig: signal.Signals = signal.SIGTERM, timeout_s: float = 30) -> int:
        self.process.send_signal(sig)
        return self.process.wait(timeout_s)


@contextmanager
def supervised(body: str, workers: int, grace_s: float = 5) -> Iterator[Hub]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, body, str(workers), str(grace_s)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        yield Hub(process, int(line.rsplit(":", 1)[1]) if line else 0)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.communicate()


def test_every_worker_serves_and_a_signal_ends_all_with_zero() -> None:
    with supervised("polite", 2) as hub:
        pids = hub.everyone(2)
        assert hub.process.pid not in pids
        assert hub.end() == 0
        assert all(command_of(pid) == "" for pid in pids)
        with pytest.raises(ConnectionRefusedError):
            hub.ask()


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_and_a_closed_terminal_drain_too(sig: signal.Signals) -> None:
    with supervised("polite", 1) as hub:
        assert hub.end(sig) == 0


def test_a_dead_worker_is_replaced_and_its_queue_waits_for_the_next() -> None:
    with supervised("polite", 1) as hub:
        first = hub.ask("die")
        # The supervisor holds the socket: nobody is refused meanwhile.
        second = hub.ask()
        assert second != first
        os.kill(second, signal.SIGKILL)
        assert hub.ask() not in {first, second}
        assert hub.say("lost").split(":")[1] == str(second), "those before it were taken over by the second"


def test_workers_that_keep_dying_end_the_hub() -> None:
    with supervised("doomed", 1) as hub:
        assert hub.process.wait(60) == 1
        assert hub.process.stderr is not None
        assert "nothing works" in hub.process.stderr.read()


def test_a_worker_that_does_not_drain_is_killed_after_the_grace_period() -> None:
    with supervised("deaf", 1, grace_s=0.2) as hub:
        assert hub.end() == 0


def test_a_second_signal_ends_everything_at_once() -> None:
    with supervised("deaf", 1, grace_s=300) as hub:
        hub.process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            hub.process.wait(0.5)
        assert hub.end(signal.SIGINT) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_workers_do_not_outlive_a_killed_supervisor() -> None:
    with supervised("polite", 2) as hub:
        pids = hub.everyone(2)
        hub.process.kill()
        hub.process.wait()
        until(lambda: all(command_of(pid) == "" for pid in pids))
