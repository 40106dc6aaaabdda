"""Id maps of containers, in the ids of the store's user namespace."""

from __future__ import annotations

import pytest

from sampan.errors import SampanError, UnsupportedError, UsageError
from sampan.linux.userns import IdMap
from sampan.model import idmaps

EXTENTS = ((0, 1000, 1), (1, 100000, 65536))
STORE = IdMap(EXTENTS, EXTENTS)
ONE = IdMap(((0, 1000, 1),), ((0, 1000, 1),))
TWO_RANGES = IdMap(((0, 1000, 1), (1, 100000, 10), (11, 300000, 10)), EXTENTS)


def made(text: str, store: IdMap = STORE, taken: tuple[IdMap, ...] = ()) -> IdMap:
    found = idmaps.of_mode(store, idmaps.parse(text), (1000, 1000), taken)
    assert found is not None
    return found


def test_keep_id() -> None:
    assert made("keep-id").uids == ((0, 1, 1000), (1000, 0, 1), (1001, 1001, 64536))
    assert made("keep-id:uid=0,gid=5").uids == ((0, 0, 1), (1, 1, 65536))
    assert made("keep-id:uid=0,gid=5").gids == ((0, 1, 5), (5, 0, 1), (6, 6, 65531))
    assert made("keep-id", ONE).uids == ((1000, 0, 1),)
    assert made("keep-id:uid=200000").uids == ((0, 1, 65536), (200000, 0, 1))
    assert made("keep-id:uid=15", TWO_RANGES).uids == (
        (0, 1, 10), (10, 11, 5), (15, 0, 1), (16, 16, 5),
    )  # fmt: skip


def test_nomap_and_auto() -> None:
    assert made("nomap").uids == ((0, 1, 65536),)
    first = made("auto:size=100")
    assert first.uids == ((0, 1, 100),)
    second = made("auto:size=100", taken=(first,))
    assert second.uids == ((0, 101, 100),)
    assert made("auto:size=50", taken=(second,)).uids == ((0, 1, 50),)
    assert made("auto", taken=(first,)).uids == ((0, 101, 1024),)
    assert idmaps.of_mode(STORE, idmaps.parse("host"), (0, 0), ()) is None
    with pytest.raises(UnsupportedError, match="65536"):
        made("auto:size=70000")
    for text in ("nomap", "auto"):
        with pytest.raises(UnsupportedError, match="one id only"):
            made(text, ONE)


def test_explicit() -> None:
    uids = idmaps.triples(["0:1:10", "33:0"], "--uidmap")
    found = idmaps.explicit(STORE, uids, [])
    assert found.uids == found.gids == ((0, 1, 10), (33, 0, 1))
    with pytest.raises(UnsupportedError, match="id 65537"):
        idmaps.explicit(STORE, [(0, 65530, 10)], [])


@pytest.mark.parametrize(
    "text", ["other", "keep-id:size=1", "auto:size=x", "auto:size=", "host:uid=1"]
)
def test_refused_modes(text: str) -> None:
    with pytest.raises(UsageError):
        idmaps.parse(text)


@pytest.mark.parametrize(
    "words", [["1"], ["a:0:1"], ["0:0:0"], ["0:0:1", "0:5:1"], ["0:0:4294967297"]]
)
def test_refused_triples(words: list[str]) -> None:
    with pytest.raises(SampanError):
        idmaps.triples(words, "--uidmap")


def test_translation() -> None:
    keep = made("keep-id")
    assert keep.outside(0, 1000) == (1, 0)
    assert keep.inverse().outside(1, 0) == (0, 1000)
    with pytest.raises(LookupError):
        keep.outside(70000, 0)
