"""COPY and ADD: what stands for all that they take, and the entries that they write.

`gather` runs as the user: it resolves the sources of a context, fetches what is remote and digests it all,
which is the step's identity in the cache.  Only where no layer of that identity is there, `write` runs in a
child that has the layers below mounted, and computes what BuildKit's copy would have done in them.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from dataclasses import dataclass

from sampan.errors import NotFoundError, SampanError, UsageError, from_os_error
from sampan_build.dockerfile import ignore, owners, remote
from sampan_build.dockerfile import values as v
from sampan_build.dockerfile.content import add_match
from sampan_build.dockerfile.git import Clone
from sampan_build.dockerfile.layout import Layout, Made
from sampan_build.dockerfile.paths import clean
from sampan_build.dockerfile.selection import Match, Selector
from sampan_build.dockerfile.tree import DIRECTORY, NOTHING, Tree, encode
from sampan_build.dockerfile.writing import Writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sampan.drivers.build import Digests, LayerTar, Notes
    from sampan_build.dockerfile.contexts import Context
    from sampan_build.dockerfile.git import Git


@dataclass(slots=True)
class Part:
    """Matches of a source.  unpack: archives are extracted.

    What is remote may be known before it is there: then `words` stand for it, and `fetch` gets it.
    """

    matches: list[Match]
    unpack: bool = False
    words: str = ""
    fetch: Callable[[], list[Match]] | None = None


@dataclass(slots=True)
class Gathered:
    """identity: 64 hexadecimal digits; parts: None where they are in another stage, which only the child sees."""

    identity: str
    parts: list[Part] | None


def gather(
    row: v.Copy | v.Add,
    source: Context | None,
    work_fd: int,
    digests: Digests,
    say: Callable[[str], object],
) -> Gathered:
    """All that a step takes; source: None for --from a stage or an image.

    work_fd: a directory that lasts until the step is done, for what is downloaded.
    """
    total = hashlib.sha256(_options(row))
    if source is None:
        total.update(json.dumps(row.sources).encode())
        return Gathered(total.hexdigest(), None)
    parts: list[Part] = []
    for word in row.sources:
        try:
            part = _remote(row, word, work_fd, say) or _local(row, word, source)
            total.update(b"unpacked %d %b\n" % (part.unpack, encode(part.words)))
            for match in part.matches if not part.words else ():
                add_match(total, match, digests)
        except OSError as error:
            raise from_os_error(f"cannot read {word} of the build context", error) from None
        if not (part.matches or part.fetch):
            say(f"{word} matches nothing")
        parts.append(part)
    return Gathered(total.hexdigest(), parts)


def fetch(gathered: Gathered) -> None:
    """Get what is remote and not there yet; as the user, before `write` is called in a child."""
    for part in gathered.parts or ():
        if part.fetch is not None:
            part.matches, part.fetch = part.fetch(), None


def identity_in(row: v.Copy | v.Add, root_fd: int, digests: Digests, notes: Notes) -> bytes:
    """What stands for all that a step takes from another stage or an image, whose root this is (32 bytes)."""
    total = hashlib.sha256()
    for match in _elsewhere(row, root_fd).matches:
        add_match(total, match, digests, notes, owners=not row.chown)
    return total.digest()


def write(
    gathered: Gathered,
    row: v.Copy | v.Add,
    workdir: str,
    roots: Sequence[int],
    tar: LayerTar,
) -> None:
    """Write the entries of the step.  roots: the layers below (-1: none, for --link), and the stage of --from."""
    is_foreign = gathered.parts is None
    fetch(gathered)
    parts = [_elsewhere(row, roots[1])] if gathered.parts is None else gathered.parts
    try:
        writer = Writer(row, workdir, roots[0], tar, is_foreign=is_foreign)
        for part in parts:
            for match in part.matches:
                writer.match(match, unpack=part.unpack)
        for doc in row.contents:
            writer.text(doc.name, doc.text())
        writer.layout.write()
    except OSError as error:
        raise from_os_error(f"cannot copy to {row.destination or '.'}", error) from None


def make_directory(path: str, root: int, tar: LayerTar, user: str = "") -> None:
    """Entries that make the directory of a WORKDIR where it is missing, for the user of USER; none if it is there."""
    tree = Tree(root)
    real = tree.resolve(path)
    kind = tree.kind(real)
    if kind == NOTHING:
        layout = Layout(tree, tar)
        layout.directory(real, Made(_of_user(user, root)))
        layout.write()
    elif kind != DIRECTORY:
        raise SampanError(f"cannot make directory {path}", "a file is there", "choose another path")


def _of_user(user: str, root: int) -> tuple[int, int]:
    """Whom a WORKDIR is for: an image may say a USER that only a later one, or whoever runs it, brings."""
    try:
        return owners.resolve(user, root)
    except NotFoundError:
        return 0, 0


def _local(row: v.Copy | v.Add, word: str, source: Context) -> Part:
    if isinstance(row, v.Add) and row.checksum:
        raise UsageError("checksum requires HTTP(S) or Git sources", f"{word} is neither")
    if source.fd < 0:
        raise NotFoundError(
            f'"{clean(f"/{word}")}" not found',
            "there is no build context",
            "give a directory, not a Dockerfile alone",
        )
    selector = Selector(source.fd, source.ignore, _excluded(row))
    unpack = isinstance(row, v.Add) and row.unpack is not False
    return Part(selector.select(word, parents=_has_parents(row)), unpack)


def _remote(
    row: v.Copy | v.Add, word: str, work_fd: int, say: Callable[[str], object]
) -> Part | None:
    """What a source is that is elsewhere; None if it is not."""
    git = remote.git_reference(word)
    if git is None and not remote.is_url(word):
        return None
    if not isinstance(row, v.Add):
        what = "a URL" if git is None else "a git ref"
        raise UsageError(f"source can't be {what} for COPY", word, "use ADD")
    if git is not None:
        say(f"looking at {remote.shown(word)}")
        return _repository(row, git.with_options(row.checksum, row.keep_git_dir), work_fd)
    remote.check_digest(row.checksum)
    unpack = bool(row.unpack)
    if row.checksum:
        words = f"{remote.file_name(word)} {row.checksum}"
        return Part([], unpack, words, lambda: _downloaded(word, work_fd, say, row.checksum))
    return Part(_downloaded(word, work_fd, say), unpack)


def _downloaded(
    word: str, work_fd: int, say: Callable[[str], object], checksum: str = ""
) -> list[Match]:
    say(f"downloading {remote.shown(word)}")
    root, name = remote.download(word, work_fd, checksum)
    return [Match(root, name, name, os.stat(encode(name), dir_fd=root))]


def _repository(row: v.Add, git: Git, work_fd: int) -> Part:
    clone = Clone(git, work_fd)

    def fetch() -> list[Match]:
        return Selector(clone.checkout(), None, _excluded(row)).select(git.subdir or "/")

    matches = [] if clone.commit else fetch()
    words = f"{clone.commit} {git.subdir} {git.keep} {git.submodules}"
    return Part(matches, False, words, None if matches else fetch)


def _elsewhere(row: v.Copy | v.Add, root: int) -> Part:
    selector, parents = Selector(root, None, _excluded(row)), _has_parents(row)
    try:
        found = [selector.select(word, parents=parents) for word in row.sources]
    except OSError as error:
        raise from_os_error("cannot read what COPY takes from another stage", error) from None
    return Part(list(itertools.chain.from_iterable(found)))


def _excluded(row: v.Copy | v.Add) -> ignore.Ignore | None:
    return ignore.exclude(row.exclude) if row.exclude else None


def _has_parents(row: v.Copy | v.Add) -> bool:
    return isinstance(row, v.Copy) and row.parents


def _options(row: v.Copy | v.Add) -> bytes:
    """The words of an instruction that change what it writes."""
    words: list[object] = [row.destination, row.chown, row.chmod, row.link, list(row.exclude)]
    words += [_has_parents(row), [[doc.name, doc.text()] for doc in row.contents]]
    return json.dumps(words).encode() + b"\n"
