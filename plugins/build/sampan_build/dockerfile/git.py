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
_PART = re.compile(r"[0-9a-f]{1,64}")


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


def clone(git: Git, work_fd: int) -> int:
    """An open directory with the files of the commit."""
    return Clone(git, work_fd).checkout()


class Clone:
    """A repository from its address to its files.

    commit: the name of the commit, which the server tells without giving its files; "" if it must be looked for in
    the history, and is known after the checkout.
    """

    def __init__(self, git: Git, work_fd: int) -> None:
        if git.ref.startswith("-"):
            raise UsageError(f"invalid git reference {git.ref[:80]}", "it begins with -")
        if git.checksum and _PART.fullmatch(git.checksum) is None:
            raise UsageError(
                f"invalid checksum {git.checksum[:80]}", "", "the begin of a commit's name"
            )
        self._git = git
        self._directory = files.open_directory(files.temporary_name(), dir_fd=work_fd, create=True)
        os.fchmod(self._directory, 0o755)
        self._run = _Program(git, self._directory)
        self._run("init", "--quiet", "--template=")
        self._run("remote", "add", "origin", "--", git.remote)
        self._name, self.commit = self._listed()
        if self.commit:
            self._check()

    def checkout(self) -> int:
        """An open directory with the files."""
        self._fetch()
        run, directory = self._run, self._directory
        run("checkout", "--quiet", "--force", "--detach", self.commit)
        if self._git.submodules and os.path.lexists(f"/proc/self/fd/{directory}/.gitmodules"):
            run("submodule", "--quiet", "update", "--init", "--recursive", "--depth=1")
        if not self._git.keep:
            files.remove_tree(directory, ".git")
            for _, _, names, fd in os.fwalk(dir_fd=directory):
                if ".git" in names:  # a submodule has a file of that name
                    os.unlink(".git", dir_fd=fd)
        return directory

    def _listed(self) -> tuple[str, str]:
        """(the whole name of what is to be fetched, its commit) as the server lists them; a branch before a tag."""
        wanted = self._git.ref or "HEAD"
        if _COMMIT.fullmatch(wanted):
            return wanted, wanted
        rows = [row.split("\t") for row in self._run("ls-remote", "origin").splitlines()]
        listed = {name: commit for commit, name in rows}
        for name in (f"refs/heads/{wanted}", f"refs/tags/{wanted}", wanted):
            if name in listed:
                return name, listed.get(f"{name}^{{}}", listed[name])
        if _PART.fullmatch(wanted):
            return wanted, ""
        raise self._missing()

    def _fetch(self) -> None:
        """Get the commit, alone if the server can."""
        run, commit = self._run, self.commit
        try:
            run("fetch", "--quiet", "--depth=1", "--no-tags", "origin", self._name)
            self.commit = run("rev-parse", "--verify", "FETCH_HEAD^{commit}")
        except SampanError:
            self.commit = ""
        if not self.commit or (commit and self.commit != commit):
            # an old commit, the begin of its name, a branch that moved, or a server that cannot cut history off
            run("fetch", "--quiet", "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*")
            try:
                self.commit = run("rev-parse", "--verify", f"{commit or self._name}^{{commit}}")
            except SampanError:
                raise self._missing() from None
        self._check()

    def _check(self) -> None:
        if not self.commit.startswith(self._git.checksum):
            raise CorruptError(
                f"expected checksum to match {self._git.checksum}, got {self.commit}",
                self._git.remote,
                "see who changed it",
            )

    def _missing(self) -> SampanError:
        why = f"repository does not contain ref {self._git.ref}"
        return SampanError(f"cannot fetch {self._git.remote}", why, "check its name")


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
