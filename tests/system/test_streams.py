"""Bytes, terminals and signals between the caller and the container."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest

from system_tools import BUSYBOX, Sampan, until


def test_64_mib_through_stdin(sampan: Sampan, tmp_path: Path) -> None:
    data = os.urandom(64 << 20)
    path = tmp_path / "random"
    path.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    with path.open("rb") as file:
        assert (
            sampan("run", "--rm", "-i", BUSYBOX, "sha256sum", stdin=file).stdout.split()[0].decode()
            == digest
        )
    slow = "dd bs=4096 count=64 of=/dev/null 2>/dev/null; sleep 0.2; wc -c"
    piped = sampan("run", "--rm", "-i", BUSYBOX, "sh", "-c", slow, input=data[: 8 << 20])
    assert int(piped.stdout) == (8 << 20) - 64 * 4096


def test_200_mb_through_stdout(sampan: Sampan, tmp_path: Path) -> None:
    """To a pipe that is read slowly, and to a file; stderr stays apart."""
    script = "dd if=/dev/zero bs=1000000 count=200 2>/dev/null; echo end >&2"
    process = sampan.spawn("run", "--rm", BUSYBOX, "sh", "-c", script,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    assert process.stdout and process.stderr
    total, pauses = 0, 0
    while chunk := process.stdout.read(1 << 16):
        assert not chunk.strip(b"\0")
        total += len(chunk)
        if pauses < 20:
            time.sleep(0.01)
            pauses += 1
    assert total == 200_000_000 and process.stderr.read() == b"end\n" and process.wait() == 0
    with (tmp_path / "out").open("wb") as file:
        assert (
            sampan(
                "run", "--rm", BUSYBOX, "sh", "-c", script, stdout=file, stderr=subprocess.PIPE
            ).returncode
            == 0
        )
    assert (tmp_path / "out").stat().st_size == 200_000_000


def test_small_writes(sampan: Sampan) -> None:
    result = sampan("run", "--rm", BUSYBOX, "dd", "if=/dev/zero", "bs=1", "count=200000")
    assert len(result.stdout) == 200_000


def test_output_to_a_reader_that_leaves(sampan: Sampan) -> None:
    """`| head -1` ends the pipeline; nothing hangs."""
    done = subprocess.run(
        ["bash", "-c", f'"$0" run --rm --timeout 5 {BUSYBOX} yes | head -1; echo ${{PIPESTATUS[0]}}', sampan.program],
        env=sampan.environment, capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.stdout.split() == [b"y", b"141"]
    assert until(lambda: sampan.text("ps", "-q") == "", 15)


class Terminal:
    """A pseudo-terminal with the program on its other end."""

    def __init__(self, sampan: Sampan, *words: str, rows: int = 41, columns: int = 62) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
            os.execve(sampan.program, [sampan.program, *words], sampan.environment)

    def read(self, until_text: bytes | None = None, seconds: float = 20) -> bytes:
        data = b""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not select.select([self.fd], [], [], 0.1)[0]:
                continue
            with contextlib.suppress(OSError):
                chunk = os.read(self.fd, 4096)
                data += chunk
                if chunk:
                    if until_text and until_text in data:
                        return data
                    continue
            return data
        raise AssertionError(f"no end after {seconds} s: {data!r}")

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def wait(self) -> int:
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        return code


def test_size_is_right_from_the_first(sampan: Sampan) -> None:
    for _ in range(10):
        terminal = Terminal(sampan, "run", "--rm", "-it", BUSYBOX, "stty", "size")
        assert terminal.read().strip() == b"41 62"
        assert terminal.wait() == 0


def test_resize_reaches_the_container(sampan: Sampan) -> None:
    script = "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.1; done"
    terminal = Terminal(sampan, "run", "--rm", "-it", BUSYBOX, "sh", "-c", script)
    terminal.read(b"ready")
    terminal.resize(50, 100)
    assert b"50 100" in terminal.read()
    assert terminal.wait() == 0


def test_control_c_in_a_terminal(sampan: Sampan) -> None:
    terminal = Terminal(
        sampan,
        "run",
        "--rm",
        "-it",
        BUSYBOX,
        "sh",
        "-c",
        # not one long child: a shell that was interrupted before it forked waits for the child's end
        "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.05; done",
    )
    terminal.read(b"ready")
    os.write(terminal.fd, b"\x03")
    assert b"caught" in terminal.read()
    assert terminal.wait() == 3


def test_detach_keys_leave_it_running(sampan: Sampan) -> None:
    terminal = Terminal(sampan, "run", "-it", "--name", "d", BUSYBOX, "sh", "-c", "echo ready; cat")
    terminal.read(b"ready")
    os.write(terminal.fd, b"\x10\x11")
    assert terminal.wait() == 0
    assert sampan.state("d")["Status"] == "running"


def test_terminal_is_restored(sampan: Sampan) -> None:
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen(
        [sampan.program, "run", "--rm", "-it", BUSYBOX, "true"],
        stdin=theirs, stdout=theirs, stderr=theirs, env=sampan.environment, start_new_session=True,
    )  # fmt: skip
    process.wait(20)
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_are_forwarded(sampan: Sampan, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    script = f"trap 'echo got {name}; exit 9' {name}; echo ready; while :; do sleep 0.05; done"
    process = sampan.spawn("run", "--rm", BUSYBOX, "sh", "-c", script, stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    assert process.stdout.read() == f"got {name}\n".encode()
    assert process.wait(20) == 9


def test_early_signals(sampan: Sampan) -> None:
    """At any moment after the start: the container ends with the right code or was never made."""
    script = "trap 'exit 9' TERM; while :; do sleep 0.02; done"
    for step in range(0, 200, 5):
        process = sampan.spawn("run", "--rm", "--timeout", "20", BUSYBOX, "sh", "-c", script,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        time.sleep(step / 1000)
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(1)
        except subprocess.TimeoutExpired:  # the signal came before the trap, and init ignores it
            process.send_signal(signal.SIGTERM)
            code = process.wait(10)
        assert code in (-signal.SIGTERM, 143, 9), (step, code)
    assert until(lambda: sampan.text("ps", "-aq") == "", 5)


def test_attach(sampan: Sampan) -> None:
    """Any number of clients see the output; one of them ends the input."""
    script = 'while read -r line; do echo "got $line"; done; echo end'
    sampan.text("run", "-d", "-i", "--name", "a", BUSYBOX, "sh", "-c", script)
    watcher = sampan.spawn("attach", "--no-stdin", "a", stdout=subprocess.PIPE)
    time.sleep(0.5)
    result = sampan("attach", "a", input=b"one\ntwo\n")
    assert result.stdout == b"got one\ngot two\nend\n" and result.returncode == 0
    assert watcher.communicate(timeout=20)[0] == result.stdout
    assert sampan.text("logs", "a").splitlines() == ["got one", "got two", "end"]
    assert sampan("attach", "a").returncode == 125


def test_attach_to_a_terminal_and_detach(sampan: Sampan) -> None:
    sampan.text("run", "-dit", "--name", "t", BUSYBOX, "sh")
    terminal = Terminal(sampan, "attach", "t", rows=20, columns=70)
    time.sleep(0.7)  # what is typed before the terminal is raw is flushed, as with any program
    os.write(terminal.fd, b"stty size; echo do''ne\n")
    assert b"20 70" in terminal.read(b"done\r\n")
    os.write(terminal.fd, b"\x10\x11")
    assert terminal.wait() == 0
    assert sampan.state("t")["Status"] == "running"
