"""builder du, builder prune and what else removes images: the cache of builds keeps what it needs, and no more."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from system_tools import BUSYBOX, Sampan, until

MIB = 1 << 20
FROM = f"FROM {BUSYBOX}\n"


@pytest.fixture
def own(program: str, registries_conf: str, tmp_path: Path) -> Sampan:
    """A store of this test alone."""
    return Sampan(program, tmp_path / "root", tmp_path / "run", registries_conf)


def build(own: Sampan, context: Path, text: str, *words: str) -> bytes:
    """Standard error of a build that must succeed."""
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text(text)
    done = own("build", "--progress", "plain", *words, str(context))
    assert done.returncode == 0, done.stderr
    return done.stderr


def rows(own: Sampan, *words: str) -> dict[str, dict[str, Any]]:
    """What `du` has of steps, by their description."""
    told = json.loads(own.text("builder", "du", "--format", "json", *words))
    return {row["Description"]: row for row in told if row["Type"] != "internal"}


def cache(own: Sampan) -> tuple[int, int]:
    """(bytes, bytes that could be had) of `system df`."""
    told = json.loads(own.text("system", "df", "--format", "json"))
    (row,) = (row for row in told if row["Type"] == "Build Cache")
    return row["RawSize"], row["RawReclaimable"]


def big(name: str, mebibytes: int) -> str:
    return f"RUN head -c {mebibytes * MIB} /dev/urandom > /{name}\n"


def test_the_cache_outlives_images(own: Sampan, tmp_path: Path) -> None:
    context, text = tmp_path / "c", f"{FROM}{big('one', 4)}RUN echo two > /two\n"
    build(own, context, text, "-t", "made")
    assert cache(own) == (0, 0), "all of it is the image's"
    assert own("builder", "prune", "-f").stdout.split() == [b"Total:", b"0B"], "an image has it"
    own.text("rmi", "-f", "made", BUSYBOX)
    assert own.text("images", "-q") == ""
    size, free = cache(own)
    assert size == free > 9 * MIB, "the base image's layers, too"
    again = build(own, context, text, "-t", "made")
    assert again.count(b"CACHED") == 3 and b"(2 of 2 steps from the cache)" in again
    assert own.text("run", "--rm", "made", "cat", "/two") == "two"
    assert cache(own) == (0, 0)


def test_prune_frees_what_no_image_uses(own: Sampan, tmp_path: Path) -> None:
    context = tmp_path / "c"
    build(own, context, f"{FROM}{big('used', 2)}", "-t", "used")
    build(own, context, f"{FROM}{big('free', 4)}", "-t", "gone")
    own.text("rmi", "gone")
    told = rows(own)
    used, free = (
        told[f"RUN head -c {size * MIB} /dev/urandom > /{name}"]
        for name, size in (("used", 2), ("free", 4))
    )
    assert (used["Shared"], used["Reclaimable"]) == (True, False)
    assert (free["Shared"], free["Reclaimable"]) == (False, True)
    table = own.text("builder", "du").splitlines()
    assert table[0].split() == ["ID", "RECLAIMABLE", "SIZE", "LAST", "ACCESSED"]
    assert [line.split()[:2] for line in table if line.startswith(free["ID"][:12])] == [
        [free["ID"][:12], "true"]
    ]
    assert [line.partition(":")[0] for line in table[-4:]] == [
        "Shared",
        "Private",
        "Reclaimable",
        "Total",
    ]
    size, reclaimable = cache(own)
    assert 8 * MIB < size == reclaimable < 9 * MIB, "a blob, and what is unpacked of it"
    done = own("builder", "prune", input=b"n\n")
    assert b"dangling build cache. Are you sure" in done.stdout and cache(own) == (size, size)
    lines = own.text("builder", "prune", input=b"y\n").splitlines()
    assert any(line.startswith(free["ID"][:12]) for line in lines) and lines[-1].split()[
        1
    ].startswith("8.")
    assert cache(own) == (0, 0) and list(rows(own)) == [used["Description"]]
    blobs = len(os.listdir(own.root / "blobs/sha256"))
    assert own.text("run", "--rm", "used", "ls", "/used") == "/used"
    assert own.text("builder", "prune", "-af").splitlines()[-1].split() == ["Total:", "0B"], (
        "an image has it"
    )
    assert rows(own) == {} and len(os.listdir(own.root / "blobs/sha256")) == blobs
    assert own.text("builder", "du").splitlines()[-1].split() == ["Total:", "0B"]
    assert b"CACHED" not in build(own, context, f"{FROM}{big('used', 2)}").partition(b"RUN")[2]


def test_what_stays_below_a_limit_is_what_was_used_last(own: Sampan, tmp_path: Path) -> None:
    context = tmp_path / "c"
    chain = f"{FROM}{big('a', 1)}{big('b', 2)}"
    build(own, context, chain, "-o", "type=cacheonly")
    build(own, context, f"{FROM}{big('old', 4)}", "-o", "type=cacheonly")
    build(own, context, chain, "-o", "type=cacheonly")
    names = {text.rpartition("/")[2] for text in rows(own) if text.startswith("RUN")}
    assert names == {"a", "b", "old"}
    assert own.text("builder", "prune", "-f", "--keep-storage", "1g").split() == ["Total:", "0B"]
    own.text("builder", "prune", "-f", "--keep-storage", "12m")
    assert [text[-1] for text in rows(own) if text.startswith("RUN")] in (["b", "a"], ["a", "b"])
    own.text("builder", "prune", "-f", "--keep-storage", "5m")
    assert [text[-1] for text in rows(own) if text.startswith("RUN")] == ["a"], (
        "what others build on goes last"
    )
    again = build(own, context, chain, "-o", "type=cacheonly")
    assert again.count(b"CACHED") == 2 and b"(1 of 2 steps from the cache)" in again


def test_filters(own: Sampan, tmp_path: Path) -> None:
    context = tmp_path / "c"
    build(own, context, f"{FROM}RUN echo a > /a\nRUN --mount=type=cache,target=/c echo b > /c/b\n")
    everything = rows(own)
    mounts = rows(own, "--filter", "type=exec.cachemount")
    assert [row["Description"] for row in mounts.values()] == ["cache mount /c"]
    (mount,) = mounts.values()
    assert mount["Mutable"] is True and mount["Reclaimable"] is True
    part = f"id={mount['ID'][:9]}"
    for words in ([part], ["mutable"], ["immutable=false"], ["private", "description=mount /c"]):
        filters = [word for one in words for word in ("--filter", one)]
        assert list(rows(own, *filters)) == list(mounts), words
    assert set(rows(own, "--filter", "shared")) == set(everything) - set(mounts)
    assert rows(own, "--filter", "until=1h") == {}
    assert set(rows(own, "--filter", "until=1ns")) == set(everything)
    for wrong in ("color=red", "until=soon", "shared=perhaps", "type"):
        assert own("builder", "du", "--filter", wrong).returncode == 125, wrong
    own.text("builder", "prune", "-af", "--filter", "until=1h")
    assert set(rows(own)) == set(everything)
    own.text("builder", "prune", "-f", "--filter", "type=regular")
    assert set(rows(own)) == set(everything), "an image has those"
    own.text("builder", "prune", "-f", "--filter", "type=exec.cachemount")
    assert set(rows(own)) == set(everything) - set(mounts)
    verbose = own.text("builder", "du", "--verbose")
    assert "Type:         regular" in verbose and "Description:  RUN echo a > /a" in verbose
    assert own("builder", "du", "--verbose", "--format", "json").returncode == 125


def test_cache_mounts(own: Sampan, tmp_path: Path) -> None:
    context = tmp_path / "c"
    fill = (
        f"head -c {3 * MIB} /dev/urandom > /c/big; mkdir -m 0 /c/closed; chown 7:7 /c/big || true"
    )
    text = f"{FROM}RUN --mount=type=cache,target=/c,id=../../x {fill}\n"
    build(own, context, text)
    (mount,) = rows(own, "--filter", "mutable").values()
    assert 3 * MIB <= cache(own)[0] < 4 * MIB
    used = f"{FROM}RUN --mount=type=cache,target=/c,id=../../x touch /c/now; sleep 30\n"
    (context / "Dockerfile").write_text(used)
    process = own.spawn("build", str(context), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        (row,) = rows(own, "--filter", "mutable").values()
        assert until(lambda: rows(own, "--filter", "inuse") != {})
        assert own.text("builder", "prune", "-af", "--filter", "mutable").split() == [
            "Total:",
            "0B",
        ]
        assert rows(own, "--filter", "mutable")[mount["Description"]]["Reclaimable"] is False
    finally:
        process.terminate()
        process.wait()
    assert until(lambda: rows(own, "--filter", "inuse") == {})
    last = own.text("builder", "prune", "-f", "--filter", "mutable").splitlines()[-1]
    assert last.split()[1].startswith("3.1") and last.endswith("MB")
    left = os.listdir(own.root / "build/mounts")
    assert [name for name in left if not name.endswith(".lock")] == []
    assert row["ID"] == mount["ID"]


def test_system_prune_takes_the_cache_along(own: Sampan, tmp_path: Path) -> None:
    context, text = tmp_path / "c", f"{FROM}{big('one', 2)}"
    build(own, context, text, "-t", "made")
    assert "Deleted build cache objects" not in own.text("system", "prune", "-f"), "an image has it"
    own.text("rmi", "made")
    assert "CACHE ID" in own.text("system", "df", "-v")
    refused = own("system", "prune", input=b"n\n")
    assert b"- unused build cache" in refused.stdout and cache(own)[0] > 4 * MIB
    own.text("system", "prune", "-f", "--filter", "label=x")
    assert cache(own)[0] > 4 * MIB, "an entry of the cache has no labels"
    told = own.text("system", "prune", "-f", "--filter", "until=1ns")
    assert "Deleted build cache objects" in told and "Total reclaimed space: 4." in told
    assert cache(own) == (0, 0)
    build(own, context, text, "-t", "made")
    own.text("system", "prune", "-af")
    assert rows(own) == {} and os.listdir(own.root / "blobs/sha256") == []


def test_damage_and_remains(own: Sampan, tmp_path: Path) -> None:
    context, text = tmp_path / "c", f"{FROM}RUN echo a > /a\n"
    build(own, context, text)
    place = own.root / "build"
    records = [path for path in place.iterdir() if path.suffix == ".json"]
    for path in records:
        path.write_bytes(path.read_bytes()[:30])
    (place / ".tmp-999999999-0-ab").write_text("")
    assert rows(own) == {}
    again = build(own, context, text)
    assert b" DONE " in again.partition(b"RUN echo a")[2]
    records[0].write_text("{}")
    own.text("builder", "prune", "-f")
    assert not (place / ".tmp-999999999-0-ab").exists()
    for path in place.iterdir():
        assert path.is_dir() or json.loads(path.read_text())["layers"], path
    assert own("builder").returncode == 125 and own("builder", "burn").returncode == 125
    assert "prune" in own.text("builder", "--help")


def test_a_build_goes_on_while_the_cache_is_pruned(own: Sampan, tmp_path: Path) -> None:
    """What a build has taken from the cache it keeps to its end."""
    context = tmp_path / "c"
    head = f"{FROM}{big('one', 1)}"
    build(own, context, head, "-o", "type=cacheonly")
    own.text("rmi", "-af")
    (context / "Dockerfile").write_text(f"{head}RUN sleep 2; ls /one\n")
    process = own.spawn("build", "-t", "made", str(context), stderr=subprocess.PIPE)
    time.sleep(1)
    for _ in range(3):
        own.text("builder", "prune", "-af")
        own.text("system", "prune", "-f")
    _, told = process.communicate()
    assert process.returncode == 0, told
    assert own.text("run", "--rm", "made", "ls", "/one") == "/one"


def test_what_a_killed_build_has_left_goes(own: Sampan, tmp_path: Path) -> None:
    """A builder that is killed between its command's end and the layer: nobody else watches the container then."""
    context = tmp_path / "c"
    build(own, context, f"{FROM}RUN true\n")
    (context / "Dockerfile").write_text(f"{FROM}RUN echo begun; sleep 0.5; echo > /x\n")
    for word in ["builder prune -f", "build -q c"]:
        process = own.spawn(
            "build", "--no-cache", "--progress", "plain", str(context),
            stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert process.stderr is not None
        assert any(b"begun" in line and b"RUN" not in line for line in process.stderr)
        os.killpg(process.pid, signal.SIGSTOP)
        assert until(lambda: bool(list(own.root.glob("containers/*/exit.json"))))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()
        assert len(list(own.root.glob("containers/*"))) == 1
        own.text(*word.split(), cwd=tmp_path)
        assert not list(own.root.glob("containers/*")) + list(own.root.glob("names/build-*"))


def test_a_layer_that_is_there_is_not_kept_twice(own: Sampan, tmp_path: Path) -> None:
    context = tmp_path / "c"
    text = f"{FROM}COPY Dockerfile /\n"
    build(own, context, text, "--timestamp", "0")
    before = sorted(own.root.glob("overlay/*"))
    build(own, context, text, "--timestamp", "0", "--no-cache")
    assert sorted(own.root.glob("overlay/*")) == before
