"""A commit of a git repository as a directory, by the git program.

It runs with the user's configuration, so that the credentials and keys that work for `git clone` work here; it
asks nothing, speaks only protocols that go over the network, and no hook of the repository runs.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from sampan import files
from sampan.errors import CorruptError, SampanError, UnsupportedError, UsageError

PROTOCOLS = "http:https:ssh:git"
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


class Git(NamedTuple):
    """A repository: ref "" is what its HEAD is; subdir has no slash at its ends."""

    remote: str
    ref: str = ""
    subdir: str = ""
    checksum: str = ""
    keep: bool | None = None
    submodules: bool = True

    def with_options(self, checksum: str, keep: bool | None) -> Git:
        """With the flags of ADD, which may not contradict the words of the URL."""
        if keep is not None and self.keep is not None and keep != self.keep:
            raise UsageError("inconsistent keep-git-dir configuration", self.remote)
        if checksum and self.checksum and checksum != self.checksum:
            raise UsageError(f'checksum mismatch "{checksum}" != "{self.checksum}"', self.remote)
        kept = self.keep if keep is None else keep
        return self._replace(checksum=checksum or self.checksum, keep=kept)


def clone(git: Git, work_fd: int) -> tuple[int, str]:
    """(an open directory with the files of the commit, its name)."""
    if git.ref.startswith("-"):
        raise UsageError(f"invalid git reference {git.ref[:80]}", "it begins with -")
    if git.checksum and re.fullmatch("[0-9a-f]{1,64}", git.checksum) is None:
        raise UsageError(
            f"invalid checksum {git.checksum[:80]}", "", "the begin of a commit's name"
        )
    directory = files.open_directory(files.temporary_name(), dir_fd=work_fd, create=True)
    os.fchmod(directory, 0o755)
    run = _Program(git, directory)
    run("init", "--quiet", "--template=")
    run("remote", "add", "origin", "--", git.remote)
    commit = _fetch(git, run)
    if not commit.startswith(git.checksum):
        raise CorruptError(
            f"expected checksum to match {git.checksum}, got {commit}",
            git.remote,
            "see who changed it",
        )
    run("checkout", "--quiet", "--force", "--detach", commit)
    if git.submodules and os.path.lexists(f"/proc/self/fd/{directory}/.gitmodules"):
        run("submodule", "--quiet", "update", "--init", "--recursive", "--depth=1")
    if not git.keep:
        files.remove_tree(directory, ".git")
        for _, _, names, fd in os.fwalk(dir_fd=directory):  # a submodule has a file of that name
            if ".git" in names:
                os.unlink(".git", dir_fd=fd)
    return directory, commit


def _fetch(git: Git, run: _Program) -> str:
    """Get the commit, alone if the server can; its name."""
    wanted = git.ref or "HEAD"
    try:
        run("fetch", "--quiet", "--depth=1", "--no-tags", "origin", wanted)
        return run("rev-parse", "--verify", "FETCH_HEAD^{commit}")
    except SampanError:
        # an old commit, or a server that cannot cut history off: all of it
        run("fetch", "--quiet", "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*")
    if not git.ref:
        run("fetch", "--quiet", "origin", "HEAD")
        return run("rev-parse", "--verify", "FETCH_HEAD^{commit}")
    branch = f"refs/remotes/origin/{wanted.removeprefix('refs/heads/')}"
    for name in (f"refs/tags/{wanted}", branch, wanted):
        try:
            return run("rev-parse", "--verify", f"{name}^{{commit}}")
        except SampanError:
            continue
    raise SampanError(
        f"cannot fetch {git.remote}", f"repository does not contain ref {wanted}", "check its name"
    )


class _Program:
    """git in a directory; a call gives what it prints."""

    def __init__(self, git: Git, directory: int) -> None:
        self._git, self._directory = git, directory
        kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        ssh = os.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
        self._environment = {
            **kept, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": PROTOCOLS, "GIT_SSH_COMMAND": ssh,
        }  # fmt: skip

    def __call__(self, *words: str) -> str:
        import subprocess

        try:
            done = subprocess.run(
                ["git", *words], cwd=f"/proc/self/fd/{self._directory}", env=self._environment,
                stdin=subprocess.DEVNULL, capture_output=True, umask=0o022, check=False,
            )  # fmt: skip
        except FileNotFoundError:
            raise UnsupportedError(
                f"cannot fetch {self._git.remote}", "there is no git program", "install git"
            ) from None
        if done.returncode:
            told = done.stderr.decode(errors="replace").strip().splitlines()
            why = told[-1] if told else f"git ends with {done.returncode}"
            raise SampanError(f"cannot fetch {self._git.remote}", why, "check the address")
        return done.stdout.decode(errors="replace").strip()
