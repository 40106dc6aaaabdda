"""What a Dockerfile says, in whole builds: line ends, continuations, arguments, references to stages."""

from __future__ import annotations

from pathlib import Path

import pytest

from system_tools import Result, Sampan


@pytest.fixture
def context(tmp_path: Path) -> Path:
    return tmp_path


def build(sampan: Sampan, context: Path, rows: str | bytes, *words: str) -> Result:
    data = rows if isinstance(rows, bytes) else rows.encode()
    (context / "Dockerfile").write_bytes(data)
    return sampan("build", "--progress", "plain", *words, str(context))


def made(sampan: Sampan, context: Path, rows: str | bytes, *words: str) -> str:
    done = build(sampan, context, rows, *words)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().split()[-1]


def shell(sampan: Sampan, image: str, command: str) -> str:
    return sampan.text("run", "--rm", "--entrypoint", "", image, "sh", "-c", command)


def test_line_ends(sampan: Sampan, context: Path) -> None:
    """D05: CRLF with and without a heredoc, a byte order mark; CR alone is an error at once."""
    rows = b"\xef\xbb\xbfFROM busybox\r\nRUN <<EOF\r\necho a > /tmp/o\r\nEOF\r\nRUN echo b \\\r\n > /tmp/p\r\n"
    image = made(sampan, context, rows)
    assert shell(sampan, image, "cd /tmp; ls; cat o p") == "o\np\na\nb"
    done = build(sampan, context, b"FROM busybox\rRUN true\r")
    assert done.returncode == 125
    assert b"Dockerfile:1" in done.stderr


def test_continuations(sampan: Sampan, context: Path) -> None:
    """D06: comments, indented ones too, and empty lines within an instruction; another escape; a keyword in parts."""
    rows = (
        "FR\\\n# here\nOM busybox\nRUN \\\n# right behind\n  echo a > /a && \\\n    # indented\n"
        "\n  echo b > /b\n"
    )
    assert shell(sampan, made(sampan, context, rows), "cat /a /b") == "a\nb"
    rows = "# escape=`\nFROM busybox\nRUN echo 'c:\\dir' `\n  > /c\n"
    assert shell(sampan, made(sampan, context, rows), "cat /c") == "c:\\dir"
    late = build(sampan, context, "FROM busybox\n# escape=`\nRUN echo d `\n  > /d\n")
    assert late.returncode != 0


def test_arguments(sampan: Sampan, context: Path) -> None:
    """D07."""
    rows = (
        'ARG BASE=busybox\nARG WORD=global\nFROM ${BASE} AS one\nARG INNER=busybox\nRUN echo "[$WORD]" > /one\n'
        'FROM $BASE\nARG WORD\nARG OWN=default\nRUN echo "[$WORD][$OWN][$HTTP_PROXY][$http_proxy]" > /two\n'
        "COPY --from=one /one /one\n"
    )
    words = ("--build-arg", "HTTP_PROXY=http://proxy:1", "--build-arg", "WORD=given")
    image = made(sampan, context, rows, *words)
    assert (
        shell(sampan, image, "cat /one /two")
        == "[]\n[given][default][http://proxy:1][http://proxy:1]"
    )
    told = sampan.text("image", "inspect", image) + sampan.text("history", "--no-trunc", image)
    assert "proxy:1" not in told
    done = build(sampan, context, "FROM busybox AS a\nARG X=busybox\nFROM $X\n")
    assert done.returncode == 125
    assert b"Dockerfile:3" in done.stderr and b"before the first FROM" in done.stderr
    done = build(sampan, context, "FROM busybox\n", "--build-arg", "UNUSED=1")
    assert done.returncode == 0 and b"[UNUSED]" in done.stderr


def test_references_to_stages(sampan: Sampan, context: Path) -> None:
    """D09: case does not matter, a stage goes before an image of its name, numbers work."""
    rows = (
        "FROM scratch AS nothing\nCOPY Dockerfile /x\nFROM busybox AS fooBar\nRUN echo foo > /foo\n"
        "FROM busybox AS debian\nRUN echo stage > /deb\nFROM debian\n"
        "COPY --from=FOOBAR /foo /foo\nCOPY --from=0 /x /x\nRUN cat /deb > /seen\n"
    )
    image = made(sampan, context, rows)
    assert shell(sampan, image, "cat /foo /seen; wc -l < /x") == "foo\nstage\n10"
    first = made(sampan, context, rows, "--target", "FOOBAR")
    assert shell(sampan, first, "ls /seen 2>/dev/null || cat /foo") == "foo"
    for wrong, line in (
        ("FROM busybox\nARG X=a\nCOPY --from=$X /x /x\n", b"Dockerfile:3"),
        ("FROM busybox\nCOPY --from=later /x /x\nFROM busybox AS later\n", b"Dockerfile:2"),
    ):
        done = build(sampan, context, wrong, "--target", "0")
        assert done.returncode == 125
        assert line in done.stderr, done.stderr


def test_health_and_shell_of_the_image(sampan: Sampan, context: Path) -> None:
    rows = (
        'FROM busybox\nSHELL ["/bin/ash", "-c"]\nHEALTHCHECK --interval=5s --retries=2 CMD test -e /ok\n'
        "CMD echo $0\nMAINTAINER me\nRUN echo $0 > /shell\n"
    )
    image = made(sampan, context, rows)
    assert shell(sampan, image, "cat /shell") == "/bin/ash"
    assert sampan.text("run", "--rm", "--no-healthcheck", image) == "/bin/ash"
    found = sampan.text(
        "image", "inspect", "--format", "{{json .Config.Healthcheck}} {{.Author}}", image
    )
    assert found == '{"Interval":5000000000,"Retries":2,"Test":["CMD-SHELL","test -e /ok"]} me'
