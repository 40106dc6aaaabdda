"""logs: the selections, over any output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from containermaker import add, directory, make_engine
from sampan import files
from sampan.engine import Engine, logs
from sampan.engine.logfile import LOG, LogWriter, parse_record
from sampan.engine.logread import Files
from sampan.errors import NotFoundError, SampanError
from sampan.linux import processes
from sampan.model.rfc3339 import stamp

from .test_logfile import DRIVERS, PIECES

Piece = tuple[bytes, bytes]


def write(place: Path, driver: str, pieces: list[Piece], limit: int = 0, count: int = 1) -> None:
    fd = files.open_directory(str(place))
    for name in os.listdir(fd):
        if name.startswith(LOG):
            files.unlink(fd, name)
    writer = LogWriter(fd, driver, limit, count)
    for stream, data in pieces:
        writer.write(stream, data)
    os.close(writer._fd)
    os.close(fd)


def read(place: Path, tail: int = -1) -> list[Piece]:
    """The records as (stream, bytes); afterwards a follower has nothing more to read."""
    fd = files.open_directory(str(place))
    log = Files(fd, "c")
    parsed = [parse_record(line) for line in log.lines(tail)]
    assert list(log.more()) == []
    log.close()
    os.close(fd)
    assert None not in parsed
    return [record[1:] for record in parsed if record is not None]


def chosen(**more: Any) -> logs.Selection:
    return logs.Selection(**{"since": None, "until": None, "tail": -1, "timestamps": False, **more})


def shown(engine: Engine, word: str, **more: Any) -> tuple[bytes, bytes]:
    """What `logs` writes to stdout and to stderr."""
    names, follow = more.pop("names", False), more.pop("follow", False)
    ends = [os.pipe() for _ in range(2)]
    pid = os.fork()
    if pid == 0:
        for number, (_, write_end) in enumerate(ends, 1):
            os.dup2(write_end, number)
        try:
            logs.show(engine, word, chosen(**more), follow=follow, names=names)
        finally:
            os._exit(0)
    found = []
    for _, write_end in ends:
        os.close(write_end)
    for read_end, _ in ends:
        with open(read_end, "rb") as file:
            found.append(file.read())
    os.waitpid(pid, 0)
    return found[0], found[1]


def lines_of(pieces: list[Piece]) -> list[tuple[int, bytes, bytes]]:
    """A model of lines: (where it ends, stream, bytes), in the order of their ends."""
    open_lines: dict[bytes, bytes] = {}
    last: dict[bytes, int] = {}
    done: list[tuple[int, bytes, bytes]] = []
    position = 0
    for stream, data in pieces:
        for part in data.splitlines(keepends=True) if b"\r" not in data else _split(data):
            position += 1
            open_lines[stream] = open_lines.get(stream, b"") + part
            last[stream] = position
            if part.endswith(b"\n"):
                done.append((position, stream, open_lines.pop(stream)))
    done += [(last[stream], stream, data) for stream, data in open_lines.items()]
    return sorted(done)


def _split(data: bytes) -> list[bytes]:
    *whole, rest = data.split(b"\n")
    return [*(line + b"\n" for line in whole), *([rest] if rest else [])]


@pytest.mark.parametrize("driver", DRIVERS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(PIECES, st.integers(0, 8))
@example([(b"stdout", b"x")] * 300 + [(b"stdout", b"\n")], 1)
@example([(b"stdout", b"a\n"), (b"stdout", b" F \n"), (b"stdout", b" F  F \n")], 2)
@example([(b"stdout", b"a"), (b"stderr", b"b\n"), (b"stdout", b"c\n")], 1)
def test_tail_gives_the_last_lines_whole(
    tmp_path: Path, driver: str, pieces: list[Piece], count: int
) -> None:
    write(tmp_path, driver, pieces)
    found = read(tmp_path, count)
    write(tmp_path, driver, pieces, limit=600, count=80)
    assert read(tmp_path, count) == found, "it makes no difference in how many files it is"
    assert b"".join(t for _, t in read(tmp_path)) == b"".join(data for _, data in pieces)
    wanted = lines_of(pieces)[-count:] if count else []
    for name in (b"stdout", b"stderr"):
        expected = b"".join(text for _, stream, text in wanted if stream == name)
        assert b"".join(text for stream, text in found if stream == name) == expected


@pytest.mark.parametrize("driver", DRIVERS)
def test_tail_over_many_blocks(tmp_path: Path, driver: str) -> None:
    """Lines longer than what is read at once, and more of them than one read holds."""
    pieces = [
        (b"stdout", b"%d" % number + b"x" * (number * 997 % 90_000) + b"\n")
        for number in range(200)
    ]
    parts = [(s, data[at : at + 65536]) for s, data in pieces for at in range(0, len(data), 65536)]
    write(tmp_path, driver, parts)
    for count in (1, 2, 50, 199, 200, 500):
        assert b"".join(t for _, t in read(tmp_path, count)) == b"".join(
            d for _, d in pieces[-count:]
        )


@pytest.mark.timeout(20)
def test_tail_of_a_large_log_reads_its_end_only(tmp_path: Path) -> None:
    write(tmp_path, "k8s-file", [(b"stdout", b"y" * 99 + b"\n")] * 20_000 + [(b"stderr", b"e\n")])
    with open(tmp_path / LOG, "r+b") as file:
        file.truncate(1 << 40)  # a hole that nobody reads through
        file.seek(1 << 40)
        file.write(b"\n" + b"2026-01-01T00:00:00.000000000+00:00 stdout F last\n" * 5)
    begun = time.monotonic()
    assert len(read(tmp_path, 4)) == 4
    assert time.monotonic() - begun < 1


def test_streams_names_and_times(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    record = add(engine, "c")
    place = directory(engine, record)
    write(place, "k8s-file", [(b"stdout", b"a"), (b"stderr", b"e\n"), (b"stdout", b"b\nlast")])
    assert shown(engine, "c") == (b"ab\nlast", b"e\n")
    assert shown(engine, "c", names=True) == (b"c ab\nc last", b"c e\n")
    out, err = shown(engine, "c", timestamps=True)
    assert [line.partition(b" ")[2] for line in out.split(b"\n")] == [b"ab", b"last"]
    assert err.startswith(b"20") and err.endswith(b" e\n")
    now = time.time()
    assert shown(engine, "c", since=now - 60) == (b"ab\nlast", b"e\n")
    assert shown(engine, "c", since=now + 60) == shown(engine, "c", until=now - 60) == (b"", b"")


def test_damaged_records_are_left_out_and_told(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    place = directory(engine, add(engine, "c"))
    write(place, "json-file", [(b"stdout", b"a\n"), (b"stdout", b"b\n")])
    with open(place / LOG, "ab") as file:
        file.write(b"\0" * 50 + b"\n" + b'{"log": "cu\n')
    out, err = shown(engine, "c")
    assert out == b"a\nb\n" and b"2 damaged records of the log of c" in err
    assert shown(engine, "c", tail=1)[0] == b"b\n"


@pytest.mark.parametrize("kind", ["fifo", "directory"])
def test_a_log_that_is_no_file(tmp_path: Path, kind: str) -> None:
    engine = make_engine(tmp_path)
    place = directory(engine, add(engine, "c"))
    os.mkfifo(place / LOG) if kind == "fifo" else (place / LOG).mkdir()
    with pytest.raises(SampanError, match="log of c"):
        logs.show(engine, "c", chosen(), follow=False, names=False)


def test_no_log(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    add(engine, "never-run")
    assert shown(engine, "never-run") == (b"", b"")
    add(engine, "silent", "--log-driver", "none")
    with pytest.raises(SampanError, match="log of silent"):
        logs.show(engine, "silent", chosen(), follow=False, names=False)
    with pytest.raises(NotFoundError):
        logs.show(engine, "absent", chosen(), follow=False, names=False)


def test_follow_reads_what_the_monitor_writes_after_the_first_process(tmp_path: Path) -> None:
    """The last bytes come when the process is dead and the monitor still drains."""
    engine = make_engine(tmp_path)
    place = directory(engine, add(engine, "c"))
    write(place, "k8s-file", [(b"stdout", b"first\n")])
    first, monitor = subprocess.Popen(["sleep", "100"]), subprocess.Popen(["sleep", "100"])
    started = [processes.start_time(p.pid) for p in (first, monitor)]
    run: Any = {"pid": first.pid, "start_time": started[0], "monitor": monitor.pid,
                "monitor_start_time": started[1], "started": "now"}  # fmt: skip
    log = Files(files.open_directory(str(place)), "c")
    lines: list[bytes] = []

    class Writer:
        def add(self, line: bytes) -> None:
            lines.append(line.rpartition(b" ")[2])

        def flush(self) -> None: ...

    def end() -> None:
        first.kill()
        first.wait()
        time.sleep(0.5)
        directory_fd = files.open_directory(str(place))
        LogWriter(directory_fd, "k8s-file").write(b"stdout", b"last\n")
        monitor.kill()
        monitor.wait()

    thread = threading.Thread(target=end)
    thread.start()
    writer: Any = Writer()
    logs._follow(log, writer, logs._end_of(engine, place.name, run))
    thread.join()
    assert lines == [b"first", b"last"]


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    """A closed pipe ends the command with 141, without a traceback."""
    engine = make_engine(tmp_path)
    place = directory(engine, add(engine, "c"))
    write(place, "k8s-file", [(b"stdout", b"x" * 60_000 + b"\n")] * 200)
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(sys.path),
        "SAMPAN_ROOT": engine.settings.root, "SAMPAN_RUN_DIR": engine.settings.run_dir,
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "sampan", "logs", "c"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )  # fmt: skip
    assert process.stdout and process.stderr and process.stdout.read(10) == b"x" * 10
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait(10) == 141


@pytest.mark.parametrize("count", [1, 2, 3])
def test_rotation_keeps_what_it_says(tmp_path: Path, count: int) -> None:
    """At most so many files of at most that size; the newest bytes are there, whole."""
    pieces = [(b"stdout", b"%05d\n" % number) for number in range(3000)]
    write(tmp_path, "k8s-file", pieces, limit=10_000, count=count)
    kept = sorted(path for path in tmp_path.iterdir() if path.name.startswith(LOG))
    assert len(kept) == count and all(path.stat().st_size <= 10_000 for path in kept)
    found = read(tmp_path)
    assert found == pieces[-len(found) :]
    assert len(found) > (count - 1) * 150


def test_a_limit_counts_what_an_earlier_run_has_written(tmp_path: Path) -> None:
    fd = files.open_directory(str(tmp_path))
    for _ in range(20):
        writer = LogWriter(fd, "k8s-file", 1000, 2)
        writer.write(b"stdout", b"x" * 200 + b"\n")
        os.close(writer._fd)
    kept = sorted(tmp_path.glob(f"{LOG}*"))
    assert [path.name for path in kept] == [LOG, f"{LOG}.1"]
    assert all(path.stat().st_size <= 1000 for path in kept)
    os.close(fd)


def test_a_follower_loses_nothing_that_was_kept(tmp_path: Path) -> None:
    """A writer that rotates all the time, and a reader beside it that sometimes sleeps."""
    directory = files.open_directory(str(tmp_path))
    wanted = [b"%06d" % number for number in range(30_000)]
    LogWriter(directory, "k8s-file", 20_000, 50).write(b"stdout", b"")
    child = os.fork()
    if child == 0:
        try:
            writer = LogWriter(directory, "k8s-file", 20_000, 50)
            for at, text in enumerate(wanted):
                writer.write(b"stdout", text + b"\n")
                if at % 1000 == 0:
                    time.sleep(0.005)
        finally:
            os._exit(0)
    log = Files(directory, "c")
    found: list[bytes] = []
    done = False
    while not done:
        done = os.waitpid(child, os.WNOHANG)[0] != 0
        for line in log.more():
            record = parse_record(line)
            assert record is not None
            found.append(record[2].rstrip(b"\n"))
    assert found == wanted
    log.close()
    os.close(directory)


def test_a_writer_killed_while_it_rotates(tmp_path: Path) -> None:
    """Whatever step was the last: no record is cut, none is there twice, and the next run goes on."""
    directory = files.open_directory(str(tmp_path))
    for turn in range(40):
        before = read(tmp_path)
        child = os.fork()
        if child == 0:
            try:
                writer = LogWriter(directory, "k8s-file", 2000, 3)
                for number in range(10**9):
                    writer.write(b"stdout", b"%02d-%08d\n" % (turn, number))
            finally:
                os._exit(0)
        time.sleep(0.004 + turn % 7 / 1000)
        os.kill(child, 9)
        os.waitpid(child, 0)
        found = [text for _, text in read(tmp_path)]
        assert len(found) == len(set(found))
        assert found == sorted(found) or before
        assert all(len(text) == 12 for text in found[:-1])
    os.close(directory)


def times(place: Path, *rows: tuple[float, str]) -> None:
    """Records of these seconds, in this order."""
    with open(place / LOG, "a") as file:
        for moment, text in rows:
            file.write(f"{stamp(int(moment * 1e9))} stdout F {text}\n")


def test_since_while_the_clock_is_set_back(tmp_path: Path) -> None:
    """The order is that of the file: what was written after a record that counts, counts."""
    engine = make_engine(tmp_path)
    times(directory(engine, add(engine, "c")), (100, "a"), (5000, "b"), (1400, "c"), (1401, "d"))
    assert shown(engine, "c", since=2000.0) == (b"b\nc\nd\n", b"")


def test_a_follower_while_the_clock_is_set_back(tmp_path: Path) -> None:
    """By an hour, before anything that --since lets through has been written."""
    engine = make_engine(tmp_path)
    place = directory(engine, add(engine, "c"))
    now = time.time()
    times(place, (now - 7200, "old"))
    process = subprocess.Popen(["sleep", "100"])
    started = processes.start_time(process.pid)
    run = {"boot": processes.boot_id(), "pid": process.pid, "start_time": started, "monitor": process.pid,
           "monitor_start_time": started, "started": "now", "restarts": 0}  # fmt: skip
    (place / "run.json").write_text(json.dumps(run))

    def go_on() -> None:
        time.sleep(0.5)
        times(place, (now - 3600, "new"), (now - 3599, "newer"))
        time.sleep(0.5)
        process.kill()
        process.wait()

    thread = threading.Thread(target=go_on)
    thread.start()
    out = shown(engine, "c", since=now - 60, follow=True)
    thread.join()
    assert out == (b"new\nnewer\n", b"")
