"""What an ELF program needs, read from the file: nothing of it is ever executed.

elf(5) for the file, ld.so(8) for the order of the search: DT_RPATH of the object and of those that
loaded it (unless it has DT_RUNPATH), DT_RUNPATH, the cache, the default directories.
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NULL, DT_NEEDED, DT_STRTAB, DT_RPATH, DT_RUNPATH = 0, 1, 5, 15, 29
MAX_TABLE = 1 << 20
CACHE_MAGIC = b"glibc-ld.so.cache1.1"
DEFAULT_PATHS = "/lib", "/usr/lib", "/lib64", "/usr/lib64"
MUSL_PATHS = "/lib", "/usr/local/lib", "/usr/lib"


class NotElf(Exception):
    """The file is no ELF object, or a malformed one."""


class Elf(NamedTuple):
    """machine: class, byte order and architecture, which a program and its libraries share."""

    machine: tuple[int, int, int]
    interpreter: str
    needed: tuple[str, ...]
    rpath: tuple[str, ...]
    runpath: tuple[str, ...]


def read(fd: int) -> Elf:
    """Parse the object that is open; NotElf."""
    try:
        return _read(fd)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise NotElf(f"malformed: {error}") from None


def _read(fd: int) -> Elf:
    head = os.pread(fd, 64, 0)
    if head[:4] != b"\x7fELF" or head[4] not in (1, 2) or head[5] not in (1, 2):
        raise NotElf("no ELF header")
    order = "<" if head[5] == 1 else ">"
    wide = head[4] == 2
    kind, machine = struct.unpack_from(order + "HH", head, 16)
    if kind not in (2, 3):  # ET_EXEC, ET_DYN
        raise NotElf("neither a program nor a library")
    if wide:
        (offset,) = struct.unpack_from(order + "Q", head, 32)
        size, count = struct.unpack_from(order + "HH", head, 54)
    else:
        (offset,) = struct.unpack_from(order + "I", head, 28)
        size, count = struct.unpack_from(order + "HH", head, 42)
    table = _bytes(fd, offset, size * count)
    segments = [_segment(table, index * size, order, wide) for index in range(count)]
    interpreter = ""
    dynamic: list[tuple[int, int]] = []
    for segment, start, _, length in segments:
        if segment == PT_INTERP:
            interpreter = _bytes(fd, start, length).rstrip(b"\0").decode()
        elif segment == PT_DYNAMIC:
            dynamic = _pairs(_bytes(fd, start, length), order, wide)
    return Elf((head[4], head[5], machine), interpreter, *_strings(fd, segments, dynamic))


def _segment(table: bytes, at: int, order: str, wide: bool) -> tuple[int, int, int, int]:
    """(type, offset in the file, virtual address, size in the file) of a program header."""
    if wide:
        kind, _, offset, address, _, size = struct.unpack_from(order + "IIQQQQ", table, at)
    else:
        kind, offset, address, _, size = struct.unpack_from(order + "IIIII", table, at)
    return kind, offset, address, size


def _pairs(data: bytes, order: str, wide: bool) -> list[tuple[int, int]]:
    step = 16 if wide else 8
    found: list[tuple[int, int]] = []
    for at in range(0, len(data) - step + 1, step):
        tag, value = struct.unpack_from(order + ("QQ" if wide else "II"), data, at)
        if tag == DT_NULL:
            break
        found.append((tag, value))
    return found


def _strings(
    fd: int, segments: list[tuple[int, int, int, int]], dynamic: list[tuple[int, int]]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Needed names, rpath and runpath."""
    base = next((value for tag, value in dynamic if tag == DT_STRTAB), 0)

    def text(offset: int) -> str:
        address = base + offset
        for kind, start, virtual, size in segments:
            if kind == PT_LOAD and virtual <= address < virtual + size:
                data = _some(fd, start + address - virtual, 4096)
                return os.fsdecode(data.partition(b"\0")[0])
        raise NotElf("a string lies outside the file")

    def paths(wanted: int) -> tuple[str, ...]:
        return tuple(p for tag, v in dynamic if tag == wanted for p in text(v).split(":") if p)

    needed = tuple(text(value) for tag, value in dynamic if tag == DT_NEEDED)
    return needed, paths(DT_RPATH), paths(DT_RUNPATH)


def _bytes(fd: int, offset: int, size: int) -> bytes:
    if size > MAX_TABLE:
        raise NotElf("a table of it is too big")
    data = _some(fd, offset, size)
    if len(data) < size:
        raise NotElf("it is cut")
    return data


def _some(fd: int, offset: int, size: int) -> bytes:
    if offset >= 1 << 62:
        raise NotElf("an offset lies outside the file")
    return os.pread(fd, size, offset)


def cache(path: str = "/etc/ld.so.cache") -> dict[str, list[str]]:
    """The dynamic linker's cache: the paths of each library name, plain ones before tuned ones."""
    try:
        with open(path, "rb") as file:
            data = file.read(64 << 20)
    except OSError:
        return {}
    start = data.find(CACHE_MAGIC)  # an old-format cache may stand before it
    if start < 0:
        return {}
    found: dict[str, list[tuple[int, str]]] = {}
    try:
        (count,) = struct.unpack_from("=I", data, start + 20)
        for index in range(min(count, len(data) // 24)):
            entry = struct.unpack_from("=iIIIQ", data, start + 48 + 24 * index)
            _, key, value, _, capabilities = entry
            name, target = (_text(data, start + offset) for offset in (key, value))
            found.setdefault(name, []).append((int(capabilities != 0), target))
    except struct.error:
        return {}
    return {name: [path for _, path in sorted(paths)] for name, paths in found.items()}


def _text(data: bytes, offset: int) -> str:
    end = data.find(b"\0", offset)
    return os.fsdecode(data[offset : end if end >= 0 else offset])


def expand(path: str, origin: str, machine: tuple[int, int, int]) -> str:
    """$ORIGIN and $LIB of a search path (ld.so(8), "Dynamic string tokens")."""
    library = "lib64" if machine[0] == 2 else "lib"
    for token, value in (("ORIGIN", origin), ("LIB", library), ("PLATFORM", os.uname().machine)):
        path = path.replace(f"${{{token}}}", value).replace(f"${token}", value)
    return path


def multiarch(interpreter: str) -> list[str]:
    """Debian's linker looks first in the directories of its architecture; they follow from its
    name.
    """
    machine = os.uname().machine
    triplets = [f"{machine}-linux-gnu"]
    if "ld-linux.so.2" in interpreter:
        triplets = ["i386-linux-gnu"]
    return [f"{place}/{triplet}" for triplet in triplets for place in ("/lib", "/usr/lib")]


def default_paths(interpreter: str) -> list[str]:
    if "musl" in os.path.basename(interpreter):
        return list(MUSL_PATHS)
    return [*multiarch(interpreter), *DEFAULT_PATHS]
