"""COPY against a model: what BuildKit's copy does step by step in a real tree, over random trees and instructions."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from copysteps import Steps, row, tree
from sampan.errors import SampanError


class Refused(Exception):
    """The model cannot do it."""


class Model:
    """tonistiigi/fsutil's copy.go in a directory, one source after the other."""

    def __init__(self, root: Path, mode: int | None) -> None:
        self.root, self.mode = root, mode

    def resolve(self, top: Path, path: str, last: bool = True) -> Path:
        """continuity's RootPath: links are followed inside the top, what is missing stays."""
        todo, done, links = path.split("/")[::-1], list[str](), 0
        while todo:
            word = todo.pop()
            if word in ("", "."):
                continue
            if word == "..":
                del done[-1:]
                continue
            here = top.joinpath(*done, word)
            if here.is_symlink() and (todo or last):
                links += 1
                if links > 40:
                    raise Refused
                target = os.readlink(here)
                done = [] if target.startswith("/") else done
                todo += target.split("/")[::-1]
            else:
                done.append(word)
        return top.joinpath(*done)

    def make(self, path: Path) -> None:
        """MkdirAll."""
        if path.is_dir():
            return
        if path.exists() or path.is_symlink() or path == self.root.parent:
            raise Refused
        self.make(path.parent)
        path.mkdir()
        path.chmod(0o755 if self.mode is None else self.mode)

    def copy(self, context: Path, source: str, target: str) -> None:
        where = self.resolve(context, os.path.normpath(source))
        if not where.exists():
            raise Refused
        if target.endswith("/"):
            self.make(self.resolve(self.root, target))
        path = self.resolve(self.root, target)
        if not where.is_dir() and path.is_dir():
            path /= source.rpartition("/")[2]
        self.make(path if where.is_dir() and not path.exists() else path.parent)
        self.put(where, path, top=True)

    def put(self, source: Path, target: Path, *, top: bool) -> None:
        if source.is_symlink() or not source.is_dir():
            if target.is_dir() and not target.is_symlink():
                raise Refused
            target.unlink(missing_ok=True)
            if source.is_symlink():
                target.symlink_to(os.readlink(source))
                return
            shutil.copyfile(source, target)
            self.information(source, target)
            return
        if target.is_symlink() or (target.exists() and not target.is_dir()):
            raise Refused
        made = not target.exists()
        if made:
            target.mkdir()
        for name in sorted(os.listdir(source)):
            self.put(source / name, target / name, top=False)
        if made or not top:
            self.information(source, target)

    def information(self, source: Path, target: Path) -> None:
        target.chmod(stat.S_IMODE(source.stat().st_mode) if self.mode is None else self.mode)


def state(top: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(top.rglob("*")):
        status = path.lstat()
        text = ""
        if path.is_symlink():
            text = os.readlink(path)
        elif path.is_file():
            text = path.read_text()
        mode = "" if path.is_symlink() else f"{stat.S_IMODE(status.st_mode):o}"
        found[str(path.relative_to(top))] = f"{stat.S_IFMT(status.st_mode):o} {mode} {text}"
    return found


NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.sampled_from(["a", "b", "a/b", "b/a", "c"]) | st.lists(
    NAMES, max_size=3, min_size=1
).map("/".join)
LINKS = st.sampled_from(["a", "b", "../b", "/b", "/a/b", "../../..", "missing", "b/c", "."])
THINGS = st.one_of(
    PATHS.map(lambda path: f"{path}/"),
    st.builds("{}={}".format, PATHS, st.sampled_from("12")),
    st.builds("{}->{}".format, PATHS, LINKS),
    st.builds("{}:{}/".format, st.sampled_from(["700", "750", "1777"]), PATHS),
    st.builds("{}:{}=3".format, st.sampled_from(["600", "711"]), PATHS),
)
BEGINS: list[list[str]] = [
    [], ["b/", "a->b"], ["a/c=3", "b->/a/c"], ["w/a/", "a->w", "w/b->../a"], ["a/b/", "a/b/c=1", "b=2"],
    ["700:a/", "a/b->../c", "b/a/"],
]  # fmt: skip
TREES = st.builds(list[str].__add__, st.sampled_from(BEGINS), st.lists(THINGS, max_size=5))
SOURCES = st.one_of(PATHS, st.sampled_from([".", "a*", "*", "*/a", "[ab]", "?/*", "a/.."]))
TARGETS = st.builds(
    "{}{}{}".format, st.sampled_from(["/", "", "../"]), PATHS, st.sampled_from(["", "/", "/."])
) | st.sampled_from(["/", ".", "./"])
WORDS = st.lists(SOURCES, min_size=1, max_size=2).map(" ".join)
INSTRUCTIONS = st.builds(
    "{}{} {}".format, st.sampled_from(["", "--chmod=751 ", "--chown=1 "]), WORDS, TARGETS
)


def plant(top: Path, words: list[str]) -> None:
    """As many of the words as fit together."""
    for word in words:
        try:
            tree(top, word)
        except OSError:
            continue


def named(context: Path, source: str) -> list[str]:
    """The paths of a source; a wildcard goes through no link."""
    words = source.split("/")
    if not any(mark in source for mark in "*?["):
        return [source]
    found = [""]
    for at, word in enumerate(words, 1):
        found = [
            f"{head}/{name}".lstrip("/")
            for head in found
            for name in sorted(os.listdir(context / head))
            if fnmatchcase(name, word)
            and (at == len(words) or ((context / head / name).is_dir() and not (context / head / name).is_symlink()))
        ]  # fmt: skip
    return found


@settings(max_examples=100, deadline=None)
@given(TREES, TREES, INSTRUCTIONS)
def test_copy_is_that_of_the_model(below: list[str], above: list[str], words: str) -> None:
    text = f"COPY {words}"
    if len(words.split()) - words.startswith("--") > 2 and not text.endswith(("/", "/.")):
        text += "/"
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        with Steps(top) as steps:
            plant(steps.root, below)
            plant(steps.context, above)
            expected = top / "expected"
            shutil.copytree(steps.root, expected, symlinks=True)
            instruction = row(text)
            model = Model(expected, int(instruction.chmod, 8) if instruction.chmod else None)
            target = instruction.destination
            target = f"/w/{target}" if not target.startswith("/") else target
            target = (
                f"{target}/" if target.endswith("/.") or instruction.destination == "." else target
            )
            refused = False
            try:
                for source in instruction.sources:
                    for path in named(steps.context, source):
                        model.copy(steps.context, path, target)
            except Refused:
                refused = True
            try:
                layer = steps.run(text, workdir="/w")
            except SampanError:
                assert refused
                return
            assert not refused
            layer.onto(steps.root)
            assert state(steps.root) == state(expected)
