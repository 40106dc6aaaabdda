"""Images from programs of this machine: what goes in, that it runs, and that it is the same each
time.
"""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan import settings
from sampan.engine import Engine
from sampan.engine.building import build_host_image
from sampan.errors import NotFoundError, SampanError, UnsupportedError, UsageError
from sampan.linux import userns
from sampan_build import elf
from sampan_build.closure import Closure, find
from sampan_build.host import plan


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    if os.getuid() == 0:
        pytest.skip("the store of root belongs to other ids: run as an unprivileged user")
    monkeypatch.setenv("SAMPAN_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "root").mkdir(mode=0o700)
    made = Engine(settings.load({}), userns.default_map(os.getuid(), os.getgid()))
    yield made
    from sampan import files

    userns.run(made.idmap, lambda: files.remove_tree(made.root_fd, "overlay"))


def libraries(program: str) -> set[str]:
    """What the dynamic linker itself would load."""
    text = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    return {word for line in text.splitlines() for word in line.split() if word.startswith("/")}


@pytest.mark.parametrize("name", ["sh", "ls", "id", "bash", "grep"])
def test_libraries_are_those_that_the_linker_loads(name: str) -> None:
    closure = Closure()
    path = closure.program(name)
    real = {os.path.realpath(found) for found in libraries(path)}
    assert real <= set(closure.nodes)
    assert os.path.realpath(path) in closure.nodes


def test_links_on_the_way_are_kept(tmp_path: Path) -> None:
    closure = Closure()
    (tmp_path / "real").mkdir()
    os.symlink(find("true"), tmp_path / "real" / "two")
    os.symlink("real/two", tmp_path / "one")
    closure.program(str(tmp_path / "one"))
    assert closure.nodes[str(tmp_path / "one")].text == b"real/two"
    assert closure.nodes[str(tmp_path / "real" / "two")].kind == "l"
    assert closure.nodes[os.path.realpath(find("true"))].kind == "f"


def script(path: Path, text: bytes, mode: int = 0o755) -> str:
    path.write_bytes(text)
    path.chmod(mode)
    return str(path)


def test_scripts_bring_their_interpreter(tmp_path: Path) -> None:
    closure = Closure()
    closure.program(script(tmp_path / "a", b"#!/bin/sh -e\necho\n"))
    assert os.path.realpath("/bin/sh") in closure.nodes
    closure.program(script(tmp_path / "b", b"#! /usr/bin/env -S X=1 ls -l\n"))
    assert os.path.realpath(find("ls")) in closure.nodes
    assert os.path.realpath("/usr/bin/env") in closure.nodes


def test_what_cannot_be_taken(tmp_path: Path) -> None:
    closure = Closure()
    for asked, kind, text in (
        ("no-such-program", NotFoundError, "absolute path"),
        ("/no/such", NotFoundError, "does not exist"),
        (str(tmp_path), UnsupportedError, "directory"),
        (script(tmp_path / "text", b"hello"), UnsupportedError, "neither an ELF"),
        (script(tmp_path / "secret", b"\x7fELF", 0o111), UnsupportedError, "may not read"),
        (
            script(tmp_path / "loop", b"#!" + os.fsencode(tmp_path / "loop") + b"\n"),
            UnsupportedError,
            "names no",
        ),
        (script(tmp_path / "lost", b"#!/no/interpreter\n"), NotFoundError, "/no/interpreter"),
        ("/dev/null", UnsupportedError, "regular"),
    ):
        if asked.endswith("secret") and os.getuid() == 0:
            continue
        with pytest.raises(kind, match=text):
            closure.program(asked)
    for words in ("", " , "):
        with pytest.raises(UsageError):
            from sampan_build.host import HostBuilder

            HostBuilder().build(_request(words), None)  # type: ignore[arg-type]


def _request(words: str) -> Any:
    from sampan.drivers import BuildRequest

    return BuildRequest(words, (), {})


def tiny_elf(needed: list[bytes], runpath: bytes, machine: int = 62) -> bytes:
    """A 64-bit object with nothing but a dynamic section."""
    strings, offsets = b"\0", []
    for text in [*needed, runpath]:
        offsets.append(len(strings))
        strings += text + b"\0"
    dynamic = [(1, offset) for offset in offsets[:-1]] + [(5, 0x1000)]
    dynamic += [(29, offsets[-1])] if runpath else []
    table = b"".join(struct.pack("<QQ", *pair) for pair in [*dynamic, (0, 0)])
    start = 64 + 2 * 56
    header = b"\x7fELF\2\1\1" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 4, start, 0x1000, 0, len(strings), len(strings), 1)
    dyn = struct.pack("<IIQQQQQQ", 2, 4, start + len(strings), 0x3000, 0, len(table), len(table), 8)
    return header + load + dyn + strings + table


def test_origin_runpath_and_foreign_machines(tmp_path: Path) -> None:
    for place in ("bin", "lib", "foreign"):
        (tmp_path / place).mkdir()
    program = tmp_path / "bin" / "p"
    run = b"$ORIGIN/../foreign:${ORIGIN}/../lib"
    program.write_bytes(tiny_elf([b"liba.so"], run))
    (tmp_path / "foreign" / "liba.so").write_bytes(tiny_elf([], b"", machine=183))
    (tmp_path / "lib" / "liba.so").write_bytes(tiny_elf([b"libb.so"], b"$ORIGIN"))
    (tmp_path / "lib" / "libb.so").write_bytes(tiny_elf([], b""))
    closure = Closure()
    closure.program(str(program))
    assert str(tmp_path / "lib" / "liba.so") in closure.nodes
    assert str(tmp_path / "lib" / "libb.so") in closure.nodes
    assert str(tmp_path / "foreign" / "liba.so") not in closure.nodes
    program.write_bytes(tiny_elf([b"libmissing.so"], b""))
    with pytest.raises(NotFoundError, match=r"libmissing\.so"):
        Closure().program(str(program))


def test_malformed_objects(tmp_path: Path) -> None:
    good = tiny_elf([b"liba.so"], b"")
    path = tmp_path / "e"
    for cut in range(0, len(good), 7):
        path.write_bytes(good[:cut])
        with open(path, "rb") as file, pytest.raises(elf.NotElf):
            elf.read(file.fileno())
    for offset in range(len(good)):
        path.write_bytes(good[:offset] + b"\xff" + good[offset + 1 :])
        with open(path, "rb") as file:
            try:
                elf.read(file.fileno())
            except elf.NotElf:
                pass


def test_cache_is_read() -> None:
    if os.path.exists("/etc/ld.so.cache"):
        assert any(path.startswith("/") for path in elf.cache()["libc.so.6"])
    assert elf.cache("/no/such") == {} and elf.cache("/etc/passwd") == {}


def test_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    if any(
        os.path.exists(f"{place}/x/xterm") for place in ("/lib/terminfo", "/usr/share/terminfo")
    ):
        assert any(path.endswith("/x/xterm") for path in plan(["true"]).nodes)
    for odd in ("", "../../etc/passwd", ".."):
        monkeypatch.setenv("TERM", odd)
        assert not any("terminfo" in path for path in plan(["true"]).nodes)


def test_image(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    image = build_host_image(engine, "sh,ls,id", said.append)
    assert len(said) == 1
    inner = image.config["config"]
    assert inner["Cmd"] == ["sh"] and inner["Env"][0].startswith("PATH=/usr/local/sbin:")
    again = build_host_image(engine, "sh,ls,id", said.append)
    assert again.id == image.id and len(said) == 1
    other = build_host_image(engine, "ls,sh,id")
    assert other.id != image.id and other.diff_ids == image.diff_ids
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    dated = build_host_image(engine, "sh,ls,id")
    assert dated.config["created"] == "1970-01-02T00:00:00Z"
    layer = Path(engine.settings.root) / "overlay" / engine.layers.keys(dated.diff_ids)[0]
    assert max(path.lstat().st_mtime for path in layer.rglob("*")) <= 86400
    assert (layer / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert (layer / "etc" / "passwd").read_text().startswith("root:x:0:0:")
    assert os.listdir(Path(engine.settings.root) / "building") == []


def test_same_programs_same_image_elsewhere(engine: Engine, tmp_path: Path) -> None:
    first = build_host_image(engine, "sh,id")
    second = Engine(
        settings.load({"root": str(tmp_path / "other")}),
        userns.default_map(os.getuid(), os.getgid()),
    )
    assert build_host_image(second, "sh,id").id == first.id
    from sampan import files

    userns.run(second.idmap, lambda: files.remove_tree(second.root_fd, "overlay"))


def test_a_failure_leaves_nothing(engine: Engine) -> None:
    with pytest.raises(SampanError):
        build_host_image(engine, "sh,no-such-program")
    assert engine.images.list() == []
