"""An image from programs of this machine: `host:sh,ls,id`.

It holds the programs, the libraries that their ELF headers name, interpreters of scripts, and the
few files without which programs complain.  Nothing is executed and nothing is downloaded, so it
works where there is no registry.  What a program loads by itself at run time (plugins, locales) is
not in it.  The same programs give the same image; as long as none of them changes the one that is
there is used.
"""

from __future__ import annotations

import os

from sampan.errors import UsageError
from sampan_build.closure import PATH, Closure, Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.drivers import BuildHost, BuildRequest, ConfigTable
    from sampan.model.contract import DriverContext, Probe

NAME = "localhost/host"
FORMAT = "1"  # to be raised when the same programs are to give another image
DIRECTORIES = {
    "/dev": 0o755,
    "/etc": 0o755,
    "/proc": 0o755,
    "/root": 0o700,
    "/run": 0o755,
    "/sys": 0o755,
    "/tmp": 0o1777,
    "/var/tmp": 0o1777,
}
FILES = {
    "/etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    "/etc/group": b"root:x:0:\nnogroup:x:65534:\n",
    "/etc/nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files dns\n",
}
MERGED = "/bin", "/sbin", "/lib"  # links to /usr where those are merged: scripts ask for /bin/sh
TERMINFO = "/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo"
CHUNK = 1 << 20


class HostBuilder:
    """The builder; see `sampan.drivers.Builder`."""

    name = "host"

    def build(self, request: BuildRequest, host: BuildHost) -> str:
        """request.source: names or absolute paths of programs, separated by commas."""
        programs = [word.strip() for word in request.source.split(",") if word.strip()]
        if not programs:
            raise UsageError("no program is named", "", "for example host:sh,ls")
        closure = plan(programs)
        name = f"{NAME}:{_fingerprint(programs, closure)}"
        tags = [*request.tags, name]
        known = host.find(name)
        if known is not None and not request.tags:
            return known
        text = f"making an image of {', '.join(programs)} and {len(closure.nodes)} files"
        host.progress({"kind": "say", "text": text})
        layer = host.layer(lambda directory: write(closure, directory))
        return host.commit((layer,), _config(programs, closure), tags)


def plan(programs: list[str]) -> Closure:
    """All that goes into the image."""
    closure = Closure()
    for path, mode in DIRECTORIES.items():
        closure.make(path, "d", mode)
    for path in MERGED:
        if os.path.islink(path):
            closure.path(path)
    for program in programs:
        closure.program(program)
    for path, text in FILES.items():
        if path not in closure.nodes:
            closure.make(path, "f", 0o644, text)
    _terminal(closure, os.environ.get("TERM", ""))
    return closure


def _terminal(closure: Closure, name: str) -> None:
    """The description of the caller's terminal, if this machine has it."""
    if not name or "/" in name or name.startswith("."):
        return
    for place in TERMINFO:
        path = f"{place}/{name[0]}/{name}"
        if os.path.isfile(path):
            closure.path(path)
            return


def write(closure: Closure, directory: int) -> None:
    """Put the plan into an empty directory, as root of the map."""
    made: list[tuple[str, Node]] = []
    for path, node in sorted(closure.nodes.items()):
        name = path.lstrip("/")
        if node.kind == "d":
            os.mkdir(name, 0o755, dir_fd=directory)
        elif node.kind == "l":
            os.symlink(node.text or b"", os.fsencode(name), dir_fd=directory)
            times = (node.mtime, node.mtime)
            os.utime(name, times, dir_fd=directory, follow_symlinks=False)
        else:
            _copy(path, node, name, directory)
        if node.kind == "d":
            made.append((name, node))
    for name, node in reversed(made):
        os.chmod(name, node.mode, dir_fd=directory)
        os.utime(name, (node.mtime, node.mtime), dir_fd=directory)


def _copy(path: str, node: Node, name: str, directory: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    target = os.open(name, flags, 0o600, dir_fd=directory)
    try:
        if node.text is not None:
            os.write(target, node.text)
        else:
            with open(path, "rb", buffering=0) as source:
                while os.sendfile(target, source.fileno(), None, CHUNK):
                    pass
                _capability(source.fileno(), target)
        os.fchmod(target, node.mode)
        os.utime(target, (node.mtime, node.mtime))
    finally:
        os.close(target)


def _capability(source: int, target: int) -> None:
    """File capabilities make ping work; a file system without attributes has none."""
    try:
        os.setxattr(target, "security.capability", os.getxattr(source, "security.capability"))
    except OSError:
        pass


def _config(programs: list[str], closure: Closure) -> dict[str, object]:
    from datetime import UTC, datetime

    newest = max(node.mtime for node in closure.nodes.values())
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    created = datetime.fromtimestamp(int(epoch) if epoch.isdigit() else newest, UTC)
    environment = [f"PATH={PATH}"]
    if closure.library_paths:
        environment.append("LD_LIBRARY_PATH=" + ":".join(closure.library_paths))
    stamp = created.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "created": stamp,
        "config": {"Env": environment, "Cmd": [programs[0]], "WorkingDir": "/"},
        "history": [{"created": stamp, "created_by": "host:" + ",".join(programs)}],
    }


def _fingerprint(programs: list[str], closure: Closure) -> str:
    """Tells one set of inputs from another without reading them."""
    import hashlib

    lines = [FORMAT, *programs, os.environ.get("SOURCE_DATE_EPOCH", "")]
    lines += [f"{path}\0{node!r}" for path, node in sorted(closure.nodes.items())]
    text = "\n".join(lines).encode("utf-8", "surrogateescape")
    return hashlib.sha256(text).hexdigest()[:16]


def sampan_builder(context: DriverContext) -> HostBuilder:
    return HostBuilder()


def sampan_probe(context: DriverContext) -> Probe:
    from sampan.model.contract import Probe

    return Probe(True)


def sampan_config() -> ConfigTable:
    return {}
