"""What `build` shows: BuildKit's plain lines, its JSON, its view of a terminal."""

from __future__ import annotations

import base64
import json
import os
import pty
import re
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.cli import build_progress, build_steps
from sampan.cli.build_progress import Display, display
from sampan.cli.build_steps import coloured, plain
from sampan.errors import UsageError


class Shown:
    """A display whose words are read back."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        self.display = display(kind, self.fd)

    def step(self, number: int, name: str, *states: str, **more: Any) -> None:
        for state in states:
            self.display({"kind": "step", "id": number, "name": name, "state": state, **more})

    def out(self, number: int, data: bytes) -> None:
        self.display({"kind": "output", "id": number, "stream": 1, "data": data})

    def text(self) -> str:
        """All so far, with every time as 0.0."""
        return re.sub(r"\b\d+\.\d+s", "0.0s", re.sub(r" \d\.\d{3} ", " 0.000 ", self.raw()))

    def raw(self) -> str:
        return self.path.read_text()


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Callable[[str], Shown]]:
    made: list[Shown] = []

    def make(kind: str) -> Shown:
        made.append(Shown(tmp_path / f"out{len(made)}", kind))
        return made[-1]

    yield make
    for one in made:
        os.close(one.fd)


Make = Callable[[str], Shown]


def test_plain_lines(shown: Make) -> None:
    one = shown("plain")
    one.step(7, "[1/2] FROM debian", "started", "cached")
    one.step(9, "[2/2] RUN make", "started")
    one.out(9, b"first\nsec")
    one.out(9, b"ond\nlast")
    one.step(9, "[2/2] RUN make", "done")
    one.display.close()
    assert one.text() == (
        "#1 [1/2] FROM debian\n#1 CACHED\n\n#2 [2/2] RUN make\n#2 0.000 first\n#2 0.000 second\n"
        "#2 0.000 last\n#2 DONE 0.0s\n"
    )


def test_a_failure_shows_the_last_lines_once_more(shown: Make) -> None:
    one = shown("plain")
    one.step(1, "RUN false", "started")
    one.out(1, b"".join(b"line %d\n" % number for number in range(30)))
    one.step(1, "RUN false", "failed", error="exit code: 1")
    one.display.close(failed=True)
    lines = one.text().splitlines()
    assert lines[31] == "#1 ERROR: exit code: 1"
    assert lines[32:34] == ["------", " > RUN false:"] and lines[-1] == "------"
    assert [line.partition(" ")[2] for line in lines[34:-1]] == [f"line {n}" for n in range(20, 30)]


def test_steps_at_the_same_time_do_not_mix(shown: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    one = shown("plain")
    one.step(1, "a", "started")
    one.step(2, "b", "started")
    one.step(3, "c", "started")
    one.out(1, b"a1\n")
    one.out(2, b"b1\n")
    one.out(1, b"a2\n")
    one.step(3, "c", "done")
    one.step(1, "a", "done")
    one.out(2, b"b2\n")
    one.step(2, "b", "canceled")
    one.display.close()
    assert one.text() == (
        "#1 a\n#1 0.000 a1\n#1 0.000 a2\n#1 ...\n\n#2 c\n#2 DONE 0.0s\n\n#3 b\n#3 0.000 b1\n#3 ...\n\n"
        "#1 a\n#1 DONE 0.0s\n\n#3 b\n#3 0.000 b2\n#3 CANCELED\n"
    )


def test_who_waits_long_is_shown(shown: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    one = shown("plain")
    one.step(1, "a", "started")
    one.step(2, "b", "started")
    one.out(2, b"b1\n")
    assert "b1" not in one.text()
    monkeypatch.setattr(build_progress, "PATIENCE", 0.0)
    one.out(2, b"b2\n")
    assert one.text() == "#1 a\n#1 ...\n\n#2 b\n#2 0.000 b1\n#2 0.000 b2\n"


def test_bytes(shown: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    one = shown("plain")
    event = {"kind": "bytes", "id": 0, "what": "sha256:ab", "total": 1000000}
    for done in (0, 300000):
        one.display({**event, "done": done})
    monkeypatch.setattr(build_progress, "INTERVAL", 0.0)
    for done in (301000, 600000, 610000, 1000000):
        one.display({**event, "done": done})
    one.step(0, "RUN x", "started", "done")
    one.display.close()
    assert one.text() == (
        "#1 [internal] load images\n#1 sha256:ab 0B / 1MB\n#1 sha256:ab 301kB / 1MB\n"
        "#1 sha256:ab 600kB / 1MB\n#1 sha256:ab 1MB / 1MB done\n#1 DONE 0.0s\n\n#2 RUN x\n#2 DONE 0.0s\n"
    ), "not too often, and less than a twentieth is no news"
    one.step(3, "RUN y", "started")
    one.display({**event, "id": 3, "done": 1000000})
    assert one.text().endswith("\n#3 RUN y\n#3 sha256:ab 1MB / 1MB done\n")


def test_warnings_and_notes(shown: Make) -> None:
    one = shown("plain")
    one.display({"kind": "say", "text": "copying"})
    for number in (3, 4):
        one.display({"kind": "warning", "text": "odd", "file": "Dockerfile", "line": number})
    one.display({"kind": "warning", "text": "unused", "file": "Dockerfile", "line": 0})
    one.display({"kind": "something new"})
    one.display.close(failed=True)
    assert one.text() == (
        "copying\n\n 3 warnings found:\n - odd (Dockerfile:3)\n - odd (Dockerfile:4)\n - unused\n"
    )


def test_strangers_words_are_harmless(shown: Make) -> None:
    one = shown("plain")
    one.step(1, "RUN \x1b]0;x\x07\x9b2J\nfake", "started")
    one.out(1, b"\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2J\xff\x9b2J\ttab\rshown\r\n")
    one.step(1, "", "failed", error="\x1b[2J")
    one.display({"kind": "say", "text": "\x1b[2J"})
    one.display({"kind": "warning", "text": "\x1b[2J", "file": "\x1b[2J", "line": 1})
    one.display.close()
    raw = one.raw()
    assert "\x1b" not in raw and "\x9b" not in raw and "\x07" not in raw
    assert "\n#1 0.000 shown\n" in one.text(), "what was overwritten is not shown"


@pytest.mark.parametrize(
    ("text", "inside", "bare"),
    [
        ("plain", "plain", "plain"),
        ("\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m\x1b[0m", "red"),
        ("\x1b[31munended", "\x1b[31munended\x1b[0m", "unended"),
        ("a\x1b[2Kb", "a\\u001b[2Kb", "ab"),
        ("10%\r20%\r30%", "30%", "30%"),
        ("dos\r", "dos", "dos"),
        ("a\tb", "a\tb", "a b"),
        ("\x1b]8;;http://x\x07link\x1b]8;;\x07", "\\u001b]8;;http://x\\u0007link\\u001b]8;;\\u0007", "link"),
        ("\x1b", "\\u001b", "\\u001b"),
    ],
)  # fmt: skip
def test_lines_of_commands(text: str, inside: str, bare: str) -> None:
    assert coloured(text) == inside and plain(text) == bare


def test_output_without_an_end_takes_little_memory(shown: Make) -> None:
    one = shown("quiet")
    one.step(1, "RUN yes", "started")
    for _ in range(100):
        one.out(1, b"y" * 100_000)
    one.step(1, "RUN yes", "failed")
    kept = one.display.steps[1].kept
    assert sum(len(text) for _, text in kept) <= build_steps.KEPT
    assert one.raw() == ""
    one.display.close(failed=True)
    assert one.raw().startswith("------\n > RUN yes:\n") and len(one.raw()) > build_steps.KEPT // 2


def test_quiet_says_nothing_of_what_went_well(shown: Make) -> None:
    one = shown("quiet")
    one.step(1, "RUN x", "started")
    one.out(1, b"words\n")
    one.step(1, "RUN x", "done")
    one.display({"kind": "say", "text": "note"})
    one.display({"kind": "warning", "text": "odd"})
    one.display.close()
    assert one.raw() == ""


def test_rawjson(shown: Make) -> None:
    one = shown("rawjson")
    one.step(5, "RUN x", "started")
    one.out(5, b"\x00\xff partial")
    one.display({"kind": "bytes", "id": 5, "what": "blob", "done": 5, "total": 10})
    one.display({"kind": "warning", "text": "odd", "file": "D", "line": 2})
    one.step(5, "RUN x", "failed", error="exit code: 3")
    one.step(6, "RUN y", "started", "cached")
    one.display.close(failed=True)
    rows = [json.loads(line) for line in one.raw().splitlines()]
    (vertex,), (log,), (status,), (warning,), (failed,) = (
        rows[0]["vertexes"], rows[1]["logs"], rows[2]["statuses"], rows[3]["warnings"], rows[4]["vertexes"],
    )  # fmt: skip
    assert re.fullmatch("sha256:[0-9a-f]{64}", vertex["digest"]) and vertex["name"] == "RUN x"
    assert "completed" not in vertex and re.match(r"\d{4}-\d\d-\d\dT", vertex["started"])
    assert log["vertex"] == status["vertex"] == failed["digest"] == vertex["digest"]
    assert (log["stream"], base64.b64decode(log["data"])) == (1, b"\x00\xff partial")
    assert (status["id"], status["current"], status["total"]) == ("blob", 5, 10)
    assert base64.b64decode(warning["short"]) == b"odd (D:2)"
    assert failed["error"] == "exit code: 3" and failed["completed"] >= failed["started"]
    assert rows[-1]["vertexes"][0]["cached"] is True and failed["started"] == vertex["started"]


def test_kinds() -> None:
    with pytest.raises(UsageError, match="no terminal"):
        display("tty", os.open("/dev/null", os.O_RDWR))
    with pytest.raises(UsageError, match="'fancy'"):
        display("fancy")


def terminal(script: Callable[[Display], None], rows: int = 10, columns: int = 40) -> bytes:
    """What the script's display writes on a terminal of that size."""
    pid, fd = pty.fork()
    if pid == 0:
        try:
            import fcntl

            fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            script(display("auto"))
            os._exit(0)
        finally:
            os._exit(1)
    data = b""
    try:
        while chunk := os.read(fd, 1 << 16):
            data += chunk
    except OSError:  # the other end is closed
        pass
    os.close(fd)
    assert os.waitpid(pid, 0)[1] == 0, data
    return data


def screen(data: bytes) -> list[str]:
    """The lines that are left to see, by the few sequences that are used."""
    text = data.decode().replace("\r\n", "\n")
    lines, at = [""], 0
    for part in re.split(r"(\x1b\[\??[0-9;]*[A-Za-z]|\n|\r)", text):
        if part == "\n":
            at += 1
            lines += [""] * (at + 1 - len(lines))
        elif part.endswith("A") and part.startswith("\x1b["):
            at -= int(part[2:-1])
            assert at >= 0
        elif part == "\x1b[J":
            del lines[at + 1 :]
            lines[at] = ""
        elif part and not part.startswith("\x1b") and part != "\r":
            lines[at] = part
    return lines


def test_a_terminal_shows_each_step_once() -> None:
    def script(one: Display) -> None:
        def step(number: int, name: str, state: str) -> None:
            one({"kind": "step", "id": number, "name": name, "state": state})

        step(1, "FROM debian", "started")
        step(1, "FROM debian", "cached")
        step(2, "RUN make", "started")
        one({"kind": "output", "id": 2, "stream": 1, "data": b"\x1b[31mred\x1b[2J words\n"})
        time.sleep(0.25)
        one({"kind": "say", "text": "a note"})
        step(2, "RUN make", "done")
        one.close()

    data = terminal(script)
    shown = screen(data)
    assert shown[0] == "a note" and re.fullmatch(
        r"\[\+\] Building \d\.\ds \(2/2\) FINISHED", shown[1]
    )
    assert re.fullmatch(r" => CACHED FROM debian +0\.0s", shown[2])
    assert re.fullmatch(r" => RUN make +0\.[2-9]s", shown[3]) and shown[4:] == [""]
    assert len(shown[2]) == len(shown[3]) == 40, "as wide as the terminal"
    assert b" => => # red words" in data and b"\x1b[31m" not in data.replace(b"\x1b[31m =>", b"")
    assert data.endswith(b"\x1b[?25h") and b"\x1b[?7h" in data, "cursor and wrapping are as before"


def test_seconds_pass_while_nothing_happens() -> None:
    before = signal.getsignal(signal.SIGALRM)

    def script(one: Display) -> None:
        one({"kind": "step", "id": 1, "name": "RUN sleep", "state": "started"})
        end = time.monotonic() + 0.75
        while time.monotonic() < end:
            time.sleep(0.05)
        one({"kind": "step", "id": 1, "name": "RUN sleep", "state": "done"})
        one.close()
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        assert signal.getsignal(signal.SIGALRM) is before

    data = terminal(script)
    frames = data.count(b"[+] Building")
    assert 4 <= frames <= 10, "about ten times a second"
    assert len(set(re.findall(rb"Building (\d\.\d)s", data))) >= 4


def test_a_terminal_too_small_for_all_steps() -> None:
    def script(one: Display) -> None:
        for number in range(30):
            event = {"kind": "step", "id": number, "name": f"RUN step {number}"}
            one({**event, "state": "started"})
            if number < 27:
                one({**event, "state": "done"})
        one({"kind": "output", "id": 29, "stream": 1, "data": b"x\n" * 50})
        time.sleep(0.3)
        one.close(failed=True)

    data = terminal(script, rows=8)
    frame = data.decode().split("[+] Building")[-2]
    shown = [line for line in frame.split("\r\n") if " => " in line]
    assert len(shown) <= 6 and any("step 29" in line for line in shown), shown
    assert sum("=> RUN step" in line for line in screen(data)) == 30, "at the end all are there"


def test_a_failure_on_a_terminal_shows_all_that_was_written() -> None:
    def script(one: Display) -> None:
        event = {"kind": "step", "id": 1, "name": "RUN bad"}
        one({**event, "state": "started"})
        one(
            {
                "kind": "output",
                "id": 1,
                "stream": 1,
                "data": b"".join(b"row %d\n" % n for n in range(40)),
            }
        )
        one({**event, "state": "failed", "error": "exit code: 1"})
        one.close(failed=True)

    shown = screen(terminal(script))
    start = shown.index("------")
    assert shown[start + 1] == " > RUN bad:" and "ERROR RUN bad" in shown[start - 1]
    assert [line.partition(" ")[2] for line in shown[start + 2 : start + 42]] == [
        f"row {n}" for n in range(40)
    ]


def test_a_fork_of_the_program_has_no_timer() -> None:
    """The engine forks; a child that draws, or dies of the timer's signal, would be seen."""

    def script(one: Display) -> None:
        one({"kind": "step", "id": 1, "name": "RUN x", "state": "started"})
        child = os.fork()
        if child == 0:
            os._exit(0 if signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0) else 1)
        assert os.waitpid(child, 0)[1] == 0
        sleeper = os.posix_spawn(
            sys.executable, [sys.executable, "-c", "import time; time.sleep(0.4)"], os.environ
        )
        assert os.waitpid(sleeper, 0)[1] == 0
        one.close()

    assert b"FINISHED" in terminal(script)
