"""COPY and ADD over plain directories: an instruction's text, where it copies from and to, and what its layer has."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from sampan.store.digests import FileDigests
from sampan.store.layertar import LayerTar
from sampan.store.sidecar import Extra
from sampan.store.truth import Truth
from sampan_build.dockerfile import ignore, transfer
from sampan_build.dockerfile.contexts import Context
from sampan_build.dockerfile.instructions import read_all
from sampan_build.dockerfile.parser import parse
from sampan_build.dockerfile.transfer import Gathered
from sampan_build.dockerfile.words import Expander

NOW = 1_700_000_000 * 10**9


class Layer(NamedTuple):
    """What a step wrote: its entries by name, and the archive."""

    entries: dict[str, tarfile.TarInfo]
    data: bytes
    gathered: Gathered

    @property
    def names(self) -> list[str]:
        return list(self.entries)

    def text(self, name: str) -> str:
        with tarfile.open(fileobj=io.BytesIO(self.data)) as archive:
            found = archive.extractfile(name)
            assert found is not None
            return found.read().decode()

    def mode(self, name: str) -> str:
        return f"{self.entries[name].mode:04o}"

    def owner(self, name: str) -> str:
        return f"{self.entries[name].uid}:{self.entries[name].gid}"

    def onto(self, root: Path) -> Path:
        """Extract it over the directory with GNU tar, as it is over the layers below."""
        command = [
            "tar",
            "-x",
            "--no-same-owner",
            "-p",
            "--delay-directory-restore",
            "-C",
            str(root),
        ]
        subprocess.run([*command, "--keep-directory-symlink"], input=self.data, check=True)
        return root


def row(text: str, variables: Mapping[str, str] | None = None) -> Any:
    """The last instruction of a text, its variables expanded."""
    return read_all(parse(text.encode()))[-1].expanded(Expander("\\", dict(variables or {})))


class Steps:
    """`with` it; context, root and stage are directories below `top`, made by `tree`."""

    def __init__(self, top: Path) -> None:
        self.context, self.root, self.stage = top / "context", top / "root", top / "stage"
        self._stack = ExitStack()
        for path in (self.context, self.root, self.stage, top / "work", top / "store"):
            path.mkdir()
        self._top = top
        self.said: list[str] = []

    def __enter__(self) -> Steps:
        self._work, self._store = self._open(self._top / "work"), self._open(self._top / "store")
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _open(self, path: Path) -> int:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        self._stack.callback(os.close, fd)
        return fd

    def gather(self, text: str, patterns: str = "") -> Gathered:
        instruction = row(text)
        source = Context(self._open(self.context), ignore.read(patterns.encode()), "context")
        elsewhere = getattr(instruction, "origin", "")
        with FileDigests(self._store) as digests:
            return transfer.gather(
                instruction, None if elsewhere else source, self._work, digests, self.said.append
            )

    def identity(self, text: str, patterns: str = "") -> str:
        return self.gather(text, patterns).identity

    def identity_in(self, text: str, **notes: Extra) -> bytes:
        """That of the stage; notes: what its disk could not hold."""
        truth = Truth({name.encode(): extra for name, extra in notes.items()}, True)
        with FileDigests(self._store) as digests:
            return transfer.identity_in(row(text), self._open(self.stage), digests, truth)

    def run(
        self, text: str, patterns: str = "", workdir: str = "/", *, once: bool = True, **more: Any
    ) -> Layer:
        """What the instruction writes; once: no path has two entries; more: of the LayerTar."""
        instruction, gathered = row(text), self.gather(text, patterns)
        transfer.fetch(gathered)
        roots = [-1 if instruction.link else self._open(self.root), self._open(self.stage)]
        return self._written(
            lambda tar: transfer.write(gathered, instruction, workdir, roots, tar),
            gathered,
            more,
            once,
        )

    def workdir(self, path: str, user: str = "") -> Layer:
        root = self._open(self.root)
        return self._written(
            lambda tar: transfer.make_directory(path, root, tar, user), Gathered("", None), {}
        )

    def _written(
        self, produce: Any, gathered: Gathered, more: dict[str, Any], once: bool = True
    ) -> Layer:
        data = io.BytesIO()
        tar = LayerTar(data.write, NOW, **more)
        produce(tar)
        tar.close()
        with tarfile.open(fileobj=io.BytesIO(data.getvalue())) as archive:
            members = archive.getmembers()
        entries = {member.name: member for member in members}
        assert len(entries) == len(members) or not once, "a path has one entry"
        return Layer(entries, data.getvalue(), gathered)


def tree(top: Path, *words: str) -> None:
    """Make `dir/`, `file`, `file=text`, `link->target`, each perhaps with `:MODE` before it."""
    for word in words:
        mode, mark, name = word.partition(":")
        mode, name = (mode, name) if mark and mode.isdigit() else ("", word)
        if "->" in name:
            name, _, target = name.partition("->")
            path = top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(target)
            continue
        name, _, text = name.partition("=")
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_text(text)
        path.chmod(int(mode, 8) if mode else 0o755 if name.endswith("/") else 0o644)
        os.utime(path, (1_000_000_000, 1_000_000_000))


def listing(top: Path) -> dict[str, str]:
    """All below a directory: text of files, -> of links, / of directories."""
    found: dict[str, str] = {}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        if path.is_symlink():
            found[name] = f"->{os.readlink(path)}"
        else:
            found[name] = "/" if path.is_dir() else path.read_text()
    return found
