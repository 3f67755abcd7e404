"""Runs a command that must not outlive whoever holds the other end of its standard input. A program of its own, with
nothing but the standard library: `python -I -S guardian.py COMMAND …`.

It shares its streams with the command and reads none of them. When the other end is closed, by whatever end of the hub,
the command has a moment to leave; then it and everything it has started in its process group is killed. The group ends
with the command, too.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys

GRACE_S = 0.5


def main() -> None:
    """Never returns."""
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: _kill_all())
    try:
        command = subprocess.Popen(sys.argv[1:])  # noqa: S603 - the operator's
    except OSError as e:
        sys.stderr.write(f"{sys.argv[1]} cannot be started: {e.strerror}\n")
        sys.exit(127)
    poll = select.poll()
    poll.register(0, 0)  # no data is asked for: only the end of it is told
    poll.register(awake, select.POLLIN)
    while command.poll() is None:
        if any(fd == 0 for fd, _ in poll.poll()):
            with contextlib.suppress(subprocess.TimeoutExpired):
                command.wait(GRACE_S)
            break
        os.read(awake, 1000)
    _kill_all()


def _kill_all() -> None:
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
