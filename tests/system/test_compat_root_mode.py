"""The mode of / is the image's; where no layer has an entry for it, podman's 0555."""

from __future__ import annotations

from system_tools import BUSYBOX, Sampan


def test_root_that_no_layer_tells(fresh: Sampan) -> None:
    script = "stat -c %a /; touch /made && rm /made && mkdir -p /a/b && stat -c %a /a"
    assert fresh.text("run", "--rm", BUSYBOX, "sh", "-c", script) in ("555\n755", "755\n755")
    name = fresh.text("create", BUSYBOX, "sh", "-c", "touch /made")
    assert fresh("start", "-a", name).returncode == 0
    fresh.text("rm", name)
    fresh.text("rmi", BUSYBOX)
    assert fresh.leftovers() == [] and not any((fresh.root / "overlay").glob("[0-9a-f]*"))
