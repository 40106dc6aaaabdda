"""What only root can set up: containers of root, and a machine that lacks something."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from system_tools import Sampan

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root")


@pytest.fixture(scope="module")
def sampan() -> Iterator[Sampan]:
    program, registry = shutil.which("sampan"), os.environ.get("SAMPAN_TEST_REGISTRY")
    if not program or not registry:
        pytest.skip("sampan or its registry is missing: run tests/run")
    base = Path(tempfile.mkdtemp(prefix="sampan-root-", dir="/var/tmp"))
    base.chmod(0o755)
    conf = base / "registries.conf"
    conf.write_text(
        'unqualified-search-registries = ["docker.io"]\n'
        f'[[registry]]\nprefix = "docker.io"\nlocation = "{registry}"\ninsecure = true\n'
    )
    (base / "run").mkdir(mode=0o700)
    yield Sampan(program, base / "root", base / "run", str(conf))
    shutil.rmtree(base, ignore_errors=True)


def test_container_root_is_not_host_root(sampan: Sampan) -> None:
    text = sampan.text("run", "--rm", "busybox", "sh", "-c", "id -u; cat /proc/self/uid_map")
    inside, row = text.splitlines()
    assert inside == "0" and int(row.split()[1]) >= 65536 and int(row.split()[2]) >= 65536
    container = sampan.text("run", "-d", "busybox", "sleep", "100")
    pid = sampan.state(container)["Pid"]
    assert os.stat(f"/proc/{pid}").st_uid == os.stat(sampan.root).st_uid != 0
    sampan.text("rm", "-f", container)


def test_the_store_belongs_to_the_range(sampan: Sampan) -> None:
    owners = {path.lstat().st_uid for path in sampan.root.rglob("*")}
    assert 0 not in owners


def test_without_newuidmap(sampan: Sampan) -> None:
    user = os.environ.get("SAMPAN_TEST_USER", "sampan-test")
    hide = 'for p in newuidmap newgidmap; do mount --bind /dev/null "/usr/bin/$p"; done; '
    run = f"setpriv --reuid {user} --regid {user} --clear-groups {sampan.program} run --rm host:true true"
    with tempfile.TemporaryDirectory(dir="/var/tmp") as home:
        shutil.chown(home, user)
        result = subprocess.run(
            ["unshare", "-m", "sh", "-c", hide + run],
            env={"PATH": os.environ["PATH"], "HOME": home}, capture_output=True, check=False, timeout=60,
        )  # fmt: skip
    assert result.returncode == 125, result.stderr
    assert b"newuidmap is not installed" in result.stderr and b"uidmap" in result.stderr
    assert result.stderr.count(b"\n") == 1
