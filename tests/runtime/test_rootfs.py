"""The container's root, made by the runtime's own class in namespaces of the test's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from sampan.errors import SampanError
from sampan.linux import libc, mounts, userns
from sampan.linux.userns import IdMap
from sampan_runtime.rootfs import Root

pytestmark = pytest.mark.skipif(os.getuid() == 0, reason="tried as a user without privileges")

SPEC: dict[str, Any] = {
    "root": {"path": "rootfs"},
    "mounts": [],
    "linux": {"maskedPaths": ["/secret", "/hidden", "/absent"], "readonlyPaths": ["/fixed"]},
}


def bundle(base: Path) -> Path:
    root = base / "rootfs"
    for name in ("hidden", "fixed"):
        (root / name).mkdir(parents=True)
    (root / "secret").write_text("secret")
    (root / "hidden/x").write_text("x")
    return base


def inside(base: Path, monkeypatch: pytest.MonkeyPatch, take_away: str | None) -> None:
    """Make the root; take a mount away before the last look, if one is named."""

    def action() -> None:
        libc.unshare(libc.CLONE_NEWNS)
        root = Root(str(base), SPEC)
        if take_away:
            verify = root._verify

            def late() -> None:
                libc.umount(f"{base}/rootfs/{take_away}")
                verify()

            monkeypatch.setattr(root, "_verify", late)
        root.build()
        top = f"/proc/self/fd/{root.fd}"
        assert os.listdir(f"{top}/hidden") == []
        assert os.stat(f"{top}/secret").st_rdev == os.makedev(1, 3)
        with pytest.raises(OSError):
            os.mkdir(f"{top}/fixed/new")
        mounts.change_propagation("/", mounts.MS_PRIVATE)

    own = IdMap(((0, os.getuid(), 1),), ((0, os.getgid(), 1),))
    userns.run(own, action)


def test_masks_and_read_only_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside(bundle(tmp_path), monkeypatch, None)


@pytest.mark.parametrize("path", ["secret", "hidden", "fixed"])
def test_what_was_taken_away_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    with pytest.raises(SampanError, match=f"cannot protect /{path}"):
        inside(bundle(tmp_path), monkeypatch, path)
