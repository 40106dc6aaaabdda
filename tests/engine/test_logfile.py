"""The log keeps every byte, in order, whatever the container writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sampan import files
from sampan.engine import losses
from sampan.engine.logfile import LOG, LogWriter, parse_record
from sampan.model.rfc3339 import stamp

DRIVERS = ["k8s-file", "json-file"]
NASTY = [b"\n", b"\r", b"\r\n", b"\x0b", b"\x85", b"\xe2\x80\xa8", b" F ", b" P ", b"stdout", b"{", b'"', b"\\", b"\0",
         b"\xff", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b" "]  # fmt: skip
DATA = st.one_of(
    st.binary(min_size=1, max_size=30),
    st.lists(st.sampled_from(NASTY), min_size=1, max_size=8).map(b"".join),
)
PIECES = st.lists(st.tuples(st.sampled_from([b"stdout", b"stderr"]), DATA), max_size=20)
any_size = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def here(tmp_path: Path) -> Iterator[int]:
    fd = files.open_directory(str(tmp_path))
    yield fd
    os.close(fd)


def records(place: Path) -> list[tuple[str, bytes, bytes]]:
    data = (place / LOG).read_bytes()
    assert not data or data.endswith(b"\n")
    parsed = [parse_record(line) for line in data.split(b"\n")[:-1]]
    assert None not in parsed
    return [record for record in parsed if record is not None]


@pytest.mark.parametrize("driver", DRIVERS)
@any_size
@given(PIECES)
@example([(b"stdout", b"a\nb"), (b"stderr", b"\n"), (b"stdout", b"\n")])
def test_what_is_written_comes_back(
    here: int, tmp_path: Path, driver: str, pieces: list[tuple[bytes, bytes]]
) -> None:
    files.unlink(here, LOG)
    writer = LogWriter(here, driver)
    for stream, data in pieces:
        writer.write(stream, data)
    found = records(tmp_path)
    for name in (b"stdout", b"stderr"):
        written = b"".join(data for stream, data in pieces if stream == name)
        assert b"".join(text for _, stream, text in found if stream == name) == written
    assert b"".join(text for _, _, text in found) == b"".join(data for _, data in pieces)
    assert all(b"\n" not in text[:-1] and text for _, _, text in found), "a record is one line"
    assert [time for time, _, _ in found] == sorted(time for time, _, _ in found)
    os.close(writer._fd)


def test_the_forms_are_those_of_other_tools(here: int, tmp_path: Path) -> None:
    LogWriter(here, "k8s-file").write(b"stdout", b"one\npart")
    first, second = (line.split(b" ", 3) for line in (tmp_path / LOG).read_bytes().splitlines())
    assert first[1:] == [b"stdout", b"F", b"one"] and second[1:] == [b"stdout", b"P", b"part"]
    files.unlink(here, LOG)
    LogWriter(here, "json-file").write(b"stderr", b"one\n\xff")
    rows = [json.loads(line) for line in (tmp_path / LOG).read_text("ascii").splitlines()]
    assert [row["log"] for row in rows] == ["one\n", "\udcff"] and rows[0]["stream"] == "stderr"
    assert (tmp_path / LOG).stat().st_mode & 0o777 == 0o600


def test_stamps_sort_as_texts() -> None:
    moments = [0, 1, 999_999_999, 10**9, 1_700_000_000_000_000_001]
    stamps = [stamp(moment) for moment in moments]
    assert stamps == sorted(stamps) and stamps[1] == "1970-01-01T00:00:00.000000001+00:00"


def test_none_keeps_nothing(here: int, tmp_path: Path) -> None:
    LogWriter(here, "none").write(b"stdout", b"x")
    assert not (tmp_path / LOG).exists()


FULL = """
import resource, signal, sys
from sampan import files
from sampan.engine import losses
from sampan.engine.logfile import LogWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), -1))
noted = files.open_directory(sys.argv[4])
writer = LogWriter(files.open_directory(sys.argv[1]), sys.argv[2], losses=losses.Losses(noted))
for _ in range(5):
    writer.write(b"stdout", b"x" * 300 + b"\\n")
writer.write(b"stdout", b"y\\nz\\n")
print(*losses.read(noted))
"""


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("limit", [50, 100, 340, 350, 700, 1000])
def test_what_does_not_fit_is_dropped_whole(tmp_path: Path, driver: str, limit: int) -> None:
    """A full disk (here: a limit) never stops the container, and what is there can be read."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    noted = tmp_path / "noted"
    noted.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path), driver, str(limit), str(noted)],
        env=environment, capture_output=True, check=True,
    )  # fmt: skip
    found = records(tmp_path)
    assert all(text in (b"x" * 300 + b"\n", b"y\n", b"z\n") for _, _, text in found)
    count, _, why = done.stdout.decode().strip().partition(" ")
    assert int(count) == 7 - len(found) > 0 and why == "File too large"


def test_losses_are_counted_on(here: int) -> None:
    """By the next run's monitor."""
    first = losses.Losses(here)
    for _ in range(3):
        first.add(2, "No space left on device")
    assert losses.read(here) == (6, "No space left on device")
    again = losses.Losses(here)
    again.add(4, "no room")
    assert losses.read(here) == (10, "no room")


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_torn_record_does_not_swallow_the_next(here: int, tmp_path: Path, driver: str) -> None:
    """The monitor was killed while it wrote; then the container was started again."""
    writer = LogWriter(here, driver)
    writer.write(b"stdout", b"one\n")
    writer.write(b"stdout", b"two two two\n")
    data = (tmp_path / LOG).read_bytes()
    for cut in range(len(data) // 2 + 1, len(data)):
        (tmp_path / LOG).write_bytes(data[:cut])
        LogWriter(here, driver).write(b"stderr", b"three\n")
        rows = [parse_record(line) for line in (tmp_path / LOG).read_bytes().split(b"\n")]
        texts = [row[1:] for row in rows if row is not None]
        assert texts[0] == (b"stdout", b"one\n") and texts[-1] == (b"stderr", b"three\n")


@given(
    st.one_of(
        st.binary(max_size=60),
        st.sampled_from([b"{}", b"[]", b"null", b'{"log": 5}', b"a b F c", b"  F "]),
    )
)
def test_what_is_no_record_is_told(line: bytes) -> None:
    parsed = parse_record(line)
    assert parsed is None or parsed[1] in (b"stdout", b"stderr")
