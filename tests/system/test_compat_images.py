"""Names of images: podman's words for what is missing, by which name a container was made, digests."""

from __future__ import annotations

from system_tools import BUSYBOX, DEBIAN, Sampan


def error(sampan: Sampan, *words: str, status: int = 125) -> str:
    result = sampan(*words)
    assert result.returncode == status, (words, result.returncode, result.stderr)
    return result.stderr.decode().rstrip("\n")


def test_a_missing_image(sampan: Sampan) -> None:
    assert error(sampan, "rmi", "bogus", status=1) == "Error: bogus: image not known"
    assert error(sampan, "run", "--pull=never", "bogus") == "Error: bogus: image not known"
    assert error(sampan, "pull", "--policy=never", "bogus") == "Error: bogus: image not known"
    assert sampan.text("rmi", "--force", "bogus") == sampan.text("rmi", "--ignore", "bogus") == ""


def test_a_container_knows_the_name_that_was_used(sampan: Sampan) -> None:
    sampan.text("tag", BUSYBOX, "localhost/some/where", "localhost/some/where:tag")
    try:
        for name, full in (
            ("localhost/some/where", "localhost/some/where:latest"),
            ("localhost/some/where:tag", "localhost/some/where:tag"),
            (BUSYBOX, "docker.io/library/busybox:latest"),
        ):
            made = sampan.text("create", name)
            assert sampan.text("inspect", "--format", "{{.ImageName}}", made) == full
    finally:
        sampan.text("untag", BUSYBOX, "localhost/some/where", "localhost/some/where:tag")


def test_untag(sampan: Sampan) -> None:
    text = error(sampan, "untag", DEBIAN, "registry.com/foo:bar")
    assert text == "Error: registry.com/foo:bar: tag not known"
    digest = sampan.text("inspect", "--type=image", "--format", "{{.Digest}}", DEBIAN)
    for name in (f"{DEBIAN}@{digest}", f"docker.io/library/debian@{digest}"):
        sampan.text("pull", "-q", name)
        sampan.text("untag", DEBIAN, name)
        names = sampan.text("inspect", "--type=image", "--format", "{{.RepoTags}}", DEBIAN)
        assert names == "[docker.io/library/debian:bookworm]"


def test_rmi_of_run_leaves_an_image_that_is_used(fresh: Sampan) -> None:
    fresh.text("run", "--name", "keep", BUSYBOX, "true")
    assert fresh("run", "--rm", "--rmi", BUSYBOX, "true").returncode == 0
    assert fresh("image", "exists", BUSYBOX).returncode == 0
    fresh.text("rm", "keep")
    assert fresh("run", "--rm", "--rmi", BUSYBOX, "true").returncode == 0
    assert fresh("image", "exists", BUSYBOX).returncode == 1
