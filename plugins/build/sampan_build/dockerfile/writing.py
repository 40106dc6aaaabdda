"""Where the matches of a COPY or an ADD go, and as what: BuildKit's copy (tonistiigi/fsutil, copy.go) as entries."""

from __future__ import annotations

import stat

from sampan.errors import SampanError
from sampan_build.dockerfile import modes, owners, unpacking
from sampan_build.dockerfile import values as v
from sampan_build.dockerfile.layout import Layout, Made, Taken, Text
from sampan_build.dockerfile.paths import clean
from sampan_build.dockerfile.selection import KINDS, Item, Match
from sampan_build.dockerfile.tree import DIRECTORY, FILE, NOTHING, Tree, decode, encode, join

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.drivers.build import LayerTar

HEREDOC_MODE = 0o644


class Writer:
    """Puts one match after the other into a layout."""

    def __init__(
        self, row: v.Copy | v.Add, workdir: str, root: int, tar: LayerTar, *, is_foreign: bool
    ) -> None:
        self._row, self._is_foreign = row, is_foreign
        chown = owners.resolve(row.chown, root) if row.chown else None
        self._owner = chown if chown is not None or is_foreign else (0, 0)
        self._octal = modes.octal(row.chmod)
        mode = 0o755 if self._octal is None else self._octal & 0o777
        self._made = Made(chown or (0, 0), mode)
        self._target, self._wants_directory = _destination(row.destination, workdir)
        self.layout = Layout(Tree(root), tar)

    def match(self, match: Match, *, unpack: bool) -> None:
        """What a source stands for; unpack: if it is an archive, what is in it."""
        if unpack and stat.S_ISREG(match.status.st_mode) and self._unpacked(match):
            return
        if match.is_directory:
            self._directory(match)
            return
        path = self._place(match.name)
        head, _, name = match.path.rpartition("/")
        item = Item(name, match.status)
        self._take(path, match.root, head, item)

    def text(self, name: str, text: str) -> None:
        """A heredoc as a file."""
        mode = self._mode(HEREDOC_MODE, is_directory=False)
        entry = Text(encode(text), self._owner or (0, 0), HEREDOC_MODE if mode is None else mode)
        self.layout.taken(self._place(name), FILE, entry)

    def _place(self, name: str) -> str:
        """Where a file of that name goes; its directory is seen to."""
        tree = self.layout.tree
        path = tree.resolve(self._target)
        if self._wants_directory:
            self.layout.directory(path, self._made)
        if tree.kind(path) == DIRECTORY:
            path = join(path, name)
        self.layout.directory(path.rpartition("/")[0], self._made)
        return path

    def _directory(self, match: Match) -> None:
        """What a directory holds, not itself: one that is there already stays as it is."""
        tree = self.layout.tree
        top = tree.resolve(self._target)
        if tree.kind(top) not in (DIRECTORY, NOTHING):
            raise SampanError(f"cannot copy to non-directory: /{top}", "a file is there")
        self.layout.directory(top.rpartition("/")[0], self._made)
        self.layout.directory(top, self._made._replace(mtime_ns=match.status.st_mtime_ns))
        for batch in match.batches:
            source, target = join(match.path, batch.path), join(top, batch.path)
            for item in batch.items:
                path = join(target, item.name)
                if item.on_way and tree.kind(path) == DIRECTORY:
                    self.layout.directory(path, self._made)
                else:
                    self._take(path, match.root, source, item)
            if self._is_foreign:
                for name in self.layout.tar.absent(encode(source)):
                    self._take_absent(join(target, decode(name)), match.root, source, decode(name))

    def _take(self, path: str, root: int, directory: str, item: Item) -> None:
        kind = KINDS.get(stat.S_IFMT(item.status.st_mode))
        if kind is None:
            return  # a socket has no place in an image
        mode = self._mode(item.status.st_mode, is_directory=kind == DIRECTORY)
        entry = Taken(root, directory, item.name, item.status, self._owner, mode, self._is_foreign)
        self.layout.taken(path, kind, entry, item.link)

    def _take_absent(self, path: str, root: int, directory: str, name: str) -> None:
        """A device, of which the store knows alone."""
        entry = Taken(root, directory, name, None, self._owner, self._octal, True)
        self.layout.taken(path, FILE, entry)

    def _mode(self, mode: int, *, is_directory: bool) -> int | None:
        """What --chmod makes of a mode; None leaves it."""
        if self._octal is not None or not self._row.chmod:
            return self._octal
        return modes.changed(self._row.chmod, stat.S_IMODE(mode), is_directory)

    def _unpacked(self, match: Match) -> bool:
        """Whether the file is an archive; then it was extracted."""
        tree = self.layout.tree
        head, _, name = match.path.rpartition("/")
        with unpacking.opened(match.root, head, name) as fd:
            archive = self.layout.tar.archive(fd)
            if archive is None:
                return False
            top = tree.resolve(self._target)
            self.layout.directory(top, Made(self._made.owner))
            owner = self._owner if self._row.chown else None
            unpacking.extract(archive, self.layout, top, owner)
        return True


def _destination(text: str, workdir: str) -> tuple[str, bool]:
    """(the path below the root, whether it says that it is a directory)."""
    path = text if text.startswith("/") else f"{workdir}/{text or '.'}"
    return clean(f"/{path}").strip("/"), path.endswith(("/", "/."))
