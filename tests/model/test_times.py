"""Times as people read and write them."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.errors import SampanError, UsageError
from sampan.model import times
from sampan.model.rfc3339 import nanoseconds, stamp


@given(st.integers(0, 4_000_000_000 * 10**9))
def test_what_sampan_writes_it_reads(moment: int) -> None:
    assert abs(times.parse(stamp(moment)) - moment / 1e9) < 1e-6


@pytest.mark.parametrize(
    "text", ["2026-01-31T12:00:00Z", "2026-01-31T12:00:00.5Z", "2026-01-31T12:00:00+00:00"]
)
def test_rfc_3339(text: str) -> None:
    expected = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()
    assert times.parse(text) == pytest.approx(expected + (0.5 if ".5" in text else 0))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-100, "Less than a second"), (0.5, "Less than a second"), (1, "1 second"), (59, "59 seconds"),
        (60, "About a minute"), (119, "About a minute"), (120, "2 minutes"), (3599, "59 minutes"),
        (3600, "60 minutes"), (7200, "2 hours"), (86400, "24 hours"), (172800, "2 days"), (14 * 86400, "2 weeks"),
        (60 * 86400, "2 months"), (730 * 86400, "2 years"),
    ],
)  # fmt: skip
def test_spans(seconds: float, words: str) -> None:
    assert times.span(seconds) == words and times.ago(seconds) == f"{words} ago"


def test_moments() -> None:
    now = time.time()
    assert times.moment("1700000000.5") == 1700000000.5
    assert times.moment("2026-01-31T12:00:00Z") == datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()
    for text, seconds in (("10m", 600), ("1h30m", 5400), ("1.5s", 1.5), ("2d", 172800), ("5ms", 0)):
        assert now - times.moment(text) == pytest.approx(seconds, abs=1)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "10", "m", "10x", "5m3", "nan", "inf", "-inf", "1e400", "9" * 30]
)
def test_bad_moments(text: str) -> None:
    if text == "10":
        assert times.moment(text) == 10
        return
    with pytest.raises(UsageError, match="invalid time"):
        times.moment(text)


@given(st.text(max_size=30))
def test_any_text_is_a_time_or_an_error(text: str) -> None:
    try:
        moment = times.moment(text)
    except SampanError:
        return
    stamp(int(moment * 1e9))  # what `logs --since` makes of it


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("2022-04-06T11:26:42.723667984+02:00", 1649237202723667984),
        ("2000-02-29T23:59:59.999999999-01:30", 951874199999999999),
        ("1969-12-31T23:59:59+00:00", -1_000_000_000),
    ],
)
def test_nanoseconds(text: str, expected: int) -> None:
    assert nanoseconds(text) == expected


@pytest.mark.parametrize(
    "text", ["", "T", "2022-13-01T00:00:00Z", "2022-01-01", "x-01-01T00:00:00Z"]
)
def test_no_moment(text: str) -> None:
    with pytest.raises(ValueError):
        nanoseconds(text)


@given(st.integers(0, 4_102_444_800 * 10**9))
def test_there_and_back(moment: int) -> None:
    assert nanoseconds(stamp(moment)) == moment
