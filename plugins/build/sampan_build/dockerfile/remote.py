"""Sources that are elsewhere: files behind URLs, and git repositories, which the git program fetches.

What is a repository and what its words mean is BuildKit's: ssh://, git:// and user@host:path are ones, http(s)://
only with a path that ends in .git; `#REF:DIRECTORY` or a query tells which commit and which directory.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from sampan import files
from sampan.errors import CorruptError, SampanError, UsageError
from sampan_build.dockerfile.git import Git
from sampan_build.dockerfile.paths import clean
from sampan_build.dockerfile.tree import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

UNNAMED = "__unnamed__"  # BuildKit's name of what a URL without a path gives
CHUNK = 1 << 20
REDIRECTS = 10
TIMEOUTS = 30.0, 60.0  # seconds to connect, and to wait for data
_URL = re.compile(r"([a-zA-Z0-9]+)://")
_SCP = re.compile(
    r"([a-zA-Z0-9_][a-zA-Z0-9-_]*)@([a-zA-Z0-9-.]+):([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL
)
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Response(NamedTuple):
    """A file that was downloaded: an open directory, and its name there."""

    directory: int
    name: str


def is_url(word: str) -> bool:
    """Whether it is the URL of a file."""
    return word.startswith(("http://", "https://")) and git_reference(word) is None


def shown(word: str) -> str:
    """A URL without the password in it."""
    return re.sub(r"(?<=://)[^/@]*@", "", word)


def git_reference(word: str) -> Git | None:
    """The git repository that the word names; None if it is none, UsageError if it cannot be understood."""
    if word.startswith(("./", "../")):
        return None
    if _URL.match(word):
        url = urlsplit(word)
        is_web = url.scheme.lower() in ("http", "https")
        if is_web and not url.path.endswith(".git"):
            return None
        if not is_web and url.scheme.lower() not in ("ssh", "git"):
            return None
        remote = url._replace(query="", fragment="").geturl()
        return _with_query(_git(remote, url.fragment), url.query)
    found = _SCP.fullmatch(word)
    if found is None:
        return None
    user, host, path, query, fragment = found.groups(default="")
    return _with_query(_git(f"{user}@{host}:{path}", fragment), query)


def github_context(word: str) -> Git | None:
    """`github.com/OWNER/NAME`, a short form that a context may have."""
    if not word.startswith("github.com/"):
        return None
    url = urlsplit(f"https://{word}")
    return _with_query(_git(url._replace(query="", fragment="").geturl(), url.fragment), url.query)


def _git(remote: str, fragment: str) -> Git:
    ref, _, subdir = fragment.partition(":")
    return Git(remote, unquote(ref), clean(f"/{unquote(subdir)}").strip("/"))


def _with_query(git: Git, query: str) -> Git:
    """BuildKit's options of a repository's URL."""
    pairs = parse_qsl(query, keep_blank_values=True)
    for key, value in pairs:
        if sum(other == key for other, _ in pairs) > 1:
            raise UsageError(f'query "{key}" has multiple values', git.remote)
        if key in ("ref", "tag", "branch"):
            before = {"ref": "", "tag": "refs/tags/", "branch": "refs/heads/"}[key]
            ref = value if value.startswith(before) else before + value
            if git.ref and git.ref != ref:
                raise UsageError(f'ref conflicts: "{git.ref}" vs "{ref}"', git.remote)
            git = git._replace(ref=ref)
        elif key == "subdir":
            git = git._replace(subdir=clean(f"/{value}").strip("/"))
        elif key in ("checksum", "commit"):
            git = git._replace(checksum=value)
        elif key == "keep-git-dir":
            git = git._replace(keep=_switch(key, value))
        elif key == "submodules":
            git = git._replace(submodules=_switch(key, value))
        else:
            raise UsageError(f'unexpected query "{key}"', git.remote)
    return git


def _switch(key: str, value: str) -> bool:
    if value.lower() in ("", "1", "t", "true"):
        return True
    if value.lower() in ("0", "f", "false"):
        return False
    raise UsageError(f'invalid {key} value: "{value}"', "", "true or false")


def file_name(url: str) -> str:
    """What the file behind a URL is called where nothing else is said."""
    name = unquote(urlsplit(url).path).rstrip("/").rpartition("/")[2]
    return name if name not in ("", ".", "..") and "\0" not in name else UNNAMED


def check_digest(checksum: str) -> None:
    """Refuse what is no checksum of a file."""
    if checksum and not _SHA256.fullmatch(checksum):
        raise UsageError(
            f"invalid checksum {checksum[:80]}", "", "sha256: and 64 hexadecimal digits"
        )


def download(url: str, work_fd: int, checksum: str = "") -> Response:
    """The file behind a URL, in a directory of its own: for its owner alone, with the time that the server tells."""
    name = file_name(url)
    directory = files.open_directory(files.temporary_name(), dir_fd=work_fd, create=True)
    fd = os.open(encode(name), _NEW, 0o600, dir_fd=directory)
    try:
        digest, modified = _save(url, fd)
        if checksum and digest != checksum:
            raise CorruptError(
                f"digest mismatch {digest}: {checksum}", shown(url), "see who changed it"
            )
        os.utime(fd, ns=(modified, modified))
    finally:
        os.close(fd)
    return Response(directory, name)


def _save(url: str, fd: int) -> tuple[str, int]:
    """(the digest of what is behind the URL, when it was changed last in nanoseconds)."""
    import urllib3

    what = f"cannot download {shown(url)}"
    total = hashlib.sha256()
    headers = {"User-Agent": "sampan", "Accept-Encoding": "identity"}
    try:
        response = _pool(url).request(
            "GET", url, headers=headers, preload_content=False, retries=urllib3.Retry(3, redirect=REDIRECTS)
        )  # fmt: skip
        with response:
            if response.status != 200:
                raise SampanError(what, f"the server answers {response.status}", "check the URL")
            for chunk in response.stream(CHUNK, decode_content=False):
                total.update(chunk)
                files.write_all(fd, chunk)
            modified = response.headers.get("Last-Modified", "")
    except urllib3.exceptions.HTTPError as error:
        raise SampanError(what, str(error), "check the URL and the network") from None
    return f"sha256:{total.hexdigest()}", _moment(modified)


def _moment(text: str) -> int:
    """The time of a header in nanoseconds, 0 if it tells none."""
    from email.utils import parsedate_to_datetime

    try:
        return int(parsedate_to_datetime(text).timestamp()) * 10**9
    except (ValueError, TypeError, OverflowError):
        return 0


def _pool(url: str) -> Any:
    """Connections that go through the proxies of the environment."""
    from urllib.request import getproxies, proxy_bypass

    import urllib3

    timeout = urllib3.Timeout(*TIMEOUTS)
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        return urllib3.ProxyManager(proxy, timeout=timeout)
    return urllib3.PoolManager(timeout=timeout)
