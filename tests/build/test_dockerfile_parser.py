"""Dockerfiles as nodes: what BuildKit's parser makes of a file, and what it refuses.

SAMPAN_TEST_DOCKERFILES names a directory of others' files: testfiles/*/ and dockerfiles/*/ hold a
Dockerfile and `result`, the tree that BuildKit's parser prints; negative/*/ hold what it refuses.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan_build.dockerfile.parser import Document, Heredoc, Node, heredoc, parse
from sampan_build.dockerfile.source import DockerfileError, nearest
from sampan_build.dockerfile.words import WordError

CORPUS = os.environ.get("SAMPAN_TEST_DOCKERFILES", "")
needs_corpus = pytest.mark.skipif(
    not CORPUS, reason="SAMPAN_TEST_DOCKERFILES names no directory of Dockerfiles"
)


def read(text: str) -> Document:
    return parse(text.encode())


def tree(text: str) -> list[str]:
    return read(text).dump().split("\n")


def only(text: str) -> Node:
    """The last of the instructions."""
    return read(text).nodes[-1]


def refused(text: str) -> DockerfileError:
    with pytest.raises(DockerfileError) as caught:
        read(text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "dumped"),
    [
        ("FROM scratch", '(from "scratch")'),
        ("from\t scratch \tAS  x ", '(from "scratch" "AS" "x")'),
        ("RUN echo  hi", '(run "echo  hi")'),
        ('RUN ["echo", "hi"]', '(run "echo" "hi")'),
        ('RUN ["echo", "hi",]', '(run "[\\"echo\\", \\"hi\\",]")'),
        ("RUN ['echo']", "(run \"['echo']\")"),
        ("RUN [NaN]", '(run "[NaN]")'),
        ("RUN []", "(run)"),
        ("RUN", "(run)"),
        ('CMD ["\\ud800\\u00e9"]', '(cmd "\ufffdé")'),
        ("COPY a  b /c", '(copy "a" "b" "/c")'),
        ('COPY ["a b", "/c"]', '(copy "a b" "/c")'),
        ("COPY --from=x --chown=1:2 a /b", '(copy ["--from=x" "--chown=1:2"] "a" "/b")'),
        ("COPY --x=\"a b\"'c' --\\y d /e", '(copy ["--x=a bc" "--y"] "d" "/e")'),
        ("COPY -- --a /b", '(copy "--a" "/b")'),
        ("COPY --link -- a /b", '(copy ["--link"] "a" "/b")'),
        ("RUN --mount=type=cache", '(run ["--mount=type=cache"])'),
        ("RUN --x a\\\\", '(run ["--x"] "a\\\\\\\\")'),
        ("ENV a b  c", '(env "a" "b  c" "")'),
        ("ENV a=b c='d e' f=g\\ h", '(env "a" "b" "=" "c" "\'d e\'" "=" "f" "g\\\\ h" "=")'),
        ('LABEL "a b"=c d=', '(label "\\"a b\\"" "c" "=" "d" "" "=")'),
        ("ENV", "(env)"),
        ("ARG a b=c d=\"e f\" g=''", '(arg "a" "b=c" "d=\\"e f\\"" "g=\'\'")'),
        ("ARG a=\"b 'c", '(arg "a=\\"b \'c")'),
        ("ARG a\\", '(arg "a")'),
        ("EXPOSE 80  81/udp", '(expose "80" "81/udp")'),
        ("USER a b", '(user "a b")'),
        ("VOLUME /a /b", '(volume "/a" "/b")'),
        ("MAINTAINER A <a@b>", '(maintainer "A <a@b>")'),
        ('SHELL ["a", "b"]', '(shell "a" "b")'),
        (
            "HEALTHCHECK --interval=5s CMD true  x",
            '(healthcheck ["--interval=5s"] "CMD" "true  x")',
        ),
        ('HEALTHCHECK CMD ["a"]', '(healthcheck "CMD" "a")'),
        ("HEALTHCHECK NONE", '(healthcheck "NONE")'),
        ("HEALTHCHECK", "(healthcheck)"),
        ("ONBUILD RUN echo", '(onbuild (run "echo"))'),
        ("ONBUILD ONBUILD COPY --link a /b", '(onbuild (onbuild (copy ["--link"] "a" "/b")))'),
        ("ONBUILD", "(onbuild)"),
        ("WHAT is this", '(what "")'),
        ("RUN a\tb\x01\u200b\U000e0001\x7f", r'(run "a\tb\x01\u200b\U000e0001\x7f")'),
        ("RUN a\xa0", '(run "a")'),
        ("RUN a\x1c", '(run "a\\x1c")'),
    ],
)
def test_an_instruction(text: str, dumped: str) -> None:
    assert tree(text) == [dumped]


@pytest.mark.parametrize(
    ("text", "dumped"),
    [
        ("RUN a \\\n  b", '(run "a   b")'),
        ("RUN a \\  \t\n b", '(run "a  b")'),
        ("RUN a \\\\\n", '(run "a \\\\\\\\")'),
        ("RUN a && \\\n# one\n  # two\n b", '(run "a &&  b")'),
        ("RUN a && \\\n\n  \n b", '(run "a &&  b")'),
        ("RUN \\\n# c\n\\\na", '(run "a")'),
        ("RUN a \\", '(run "a")'),
        ("FR\\\n# c\nOM alpine", '(from "alpine")'),
        ("\\\nFROM a", '(from "a")'),
        ("  \n\t# c\n  FROM a\n\n", '(from "a")'),
        ("FROM a # no comment", '(from "a" "#" "no" "comment")'),
    ],
)
def test_lines_that_go_on(text: str, dumped: str) -> None:
    assert tree(text) == [dumped]
    assert tree(text.replace("\n", "\r\n")) == [dumped]
    assert parse(b"\xef\xbb\xbf" + text.encode()).dump() == dumped


def test_bytes_that_are_no_text() -> None:
    assert parse(b"RUN echo \xff\xfe").dump() == r'(run "echo \xff\xfe")'
    assert parse(b'RUN ["\xff"]').dump() == '(run "\ufffd")'


def test_where_instructions_stand() -> None:
    text = "# c\n\nFROM a\nRUN a \\\n# c\n  b\nRUN <<E\nx\nE\nUSER u\n"
    assert [(node.start, node.end) for node in read(text).nodes] == [
        (3, 3),
        (4, 6),
        (7, 9),
        (10, 10),
    ]


def test_empty_lines_in_an_instruction_are_told() -> None:
    assert read("FROM a\nRUN b \\\n\n c\nUSER x").empty_continuations == [(4, "RUN b  c")]


def test_comments_before_an_instruction() -> None:
    assert only("# one\n\n# two\nFROM a").comments == ["one", "two"]
    assert only("# one\n#\n# two\nFROM a").comments == ["two"]
    assert only("# one\nFROM a\nUSER b").comments == []
    assert only("# syntax=x\n# one\nFROM a").comments == ["one"]


def test_directives() -> None:
    document = read("# syntax = docker/dockerfile:1 \n#escape=`\n# Check=skip=all\nRUN a `\n b")
    assert document.directives == {
        "syntax": ("docker/dockerfile:1", 1),
        "escape": ("`", 2),
        "check": ("skip=all", 3),
    }
    assert document.escape == "`"
    assert document.dump() == '(run "a  b")'


@pytest.mark.parametrize(
    "before", ["# a comment\n", "# unknown=x\n", "\n", "ARG a\n", "#\n", "# escape =\n"]
)
def test_directives_end_with_anything_else(before: str) -> None:
    document = read(f"{before}# escape=`\nRUN a `\nRUN b \\\n c")
    assert document.escape == "\\"
    assert document.directives == {}


def test_the_escape_character() -> None:
    assert tree("# escape=`\nRUN dir c:\\\nCOPY a` b\nENV a=b` c") == [
        '(run "dir c:\\\\")',
        '(copy "a`" "b")',
        '(env "a" "b` c" "=")',
    ]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("<<EOF", Heredoc("EOF", True, False)),
        ("<<-EOF", Heredoc("EOF", True, True)),
        ("<<'EOF'", Heredoc("EOF", False, False)),
        ('<<"EOF"', Heredoc("EOF", False, False)),
        ("<<EO'F'", Heredoc("EOF", False, False)),
        ("<<EO\\'F", Heredoc("EO'F", True, False)),
        ("<<'E'O\\'F", Heredoc("EO'F", False, False)),
        ("<<- EOF", Heredoc("EOF", True, True)),
        ("<<'a b'", Heredoc("a b", False, False)),
        ("<<$E", Heredoc("$E", True, False)),
        ("3<<E", Heredoc("E", True, False, 3)),
        ("99999999999999999999999<<E", Heredoc("E", True, False, 2**64 - 1)),
        ("", None),
        ("EOF", None),
        ("<<", None),
        ("<<-", None),
        ("<EOF", None),
        ("<<<EOF", None),
        ("<<EOF sh", None),
        ("a<<EOF", None),
    ],
)
def test_the_word_of_a_heredoc(word: str, expected: Heredoc | None) -> None:
    assert heredoc(word) == expected


@pytest.mark.parametrize("word", ["<<'EOF", '<<"EOF', "<<EOF'", '<<EOF"'])
def test_the_word_of_a_heredoc_with_half_a_quote(word: str) -> None:
    with pytest.raises(WordError, match="matching"):
        heredoc(word)


@pytest.mark.parametrize(
    ("text", "contents"),
    [
        ("RUN <<E\nE", [""]),
        ("RUN <<E\n\tfoo\n# no comment\n\n\\\nE", ["\tfoo\n# no comment\n\n\\\n"]),
        ("RUN <<-E\n\tfoo\n\t\tE\n", ["\tfoo\n"]),
        ("RUN <<E\n E\nEE\nE\r\n", [" E\nEE\n"]),
        ("RUN <<E python3\nx\r\nE", ["x\r\n"]),
        ("RUN --mount=type=tmpfs,target=/x <<E > y\nx\nE", ["x\n"]),
        ("COPY <<X <<Y /d\nY\nX\nX\nY\n", ["Y\n", "X\n"]),
        ("ADD <<f.txt /d\nx\nf.txt\n", ["x\n"]),
        ("ONBUILD RUN <<E\nx\nE\n", ["x\n"]),
        ("RUN cat \\\n <<E\nx\nE\n", ["x\n"]),
    ],
)
def test_heredocs(text: str, contents: list[str]) -> None:
    document = read(f"{text}\nUSER after")
    assert [doc.content for doc in document.nodes[0].heredocs] == contents
    assert document.nodes[1].words == ["after"]


@pytest.mark.parametrize(
    "line",
    [
        'RUN ["<<E"]',
        'RUN "<<E"',
        "USER <<E",
        "CMD <<E",
        "RUN cat <<<E",
        "ONBUILD USER <<E",
        "RUN a 'b <<E",
    ],
)
def test_no_heredoc(line: str) -> None:
    document = read(f"{line}\nUSER after")
    assert not any(node.heredocs for node in document.nodes)


def test_tabs_before_a_heredocs_lines() -> None:
    assert Heredoc("E", True, True, 0, "\t\ta\n\n\tb\tc\n").text() == "a\n\nb\tc\n"
    assert Heredoc("E", True, False, 0, "\ta\n").text() == "\ta\n"


@pytest.mark.parametrize(
    ("text", "line", "says", "under"),
    [
        ("", 1, "the file has no instructions; a Dockerfile begins with FROM", ""),
        (
            "# only\n# comments",
            1,
            "the file has no instructions; a Dockerfile begins with FROM",
            "# only",
        ),
        ("FROM a\n\nENV PATH", 3, "ENV must have two arguments; write ENV PATH=VALUE", "PATH"),
        (
            "FROM a\nLABEL a=b \\\n c",
            3,
            'Syntax error - can\'t find = in "c". Must be of the form: name=value; quote a value that has blanks',
            "c",
        ),
        (
            'CMD ["a", ["b"]]',
            1,
            "when using JSON array syntax, arrays must be comprised of strings only; quote each element",
            '["a", ["b"]]',
        ),
        ("# escape=/\nFROM a", 1, "invalid escape token '/' does not match ` or \\", "/"),
        (
            "# syntax=a\n# syntax=b\nFROM a",
            2,
            "only one syntax parser directive can be used; see line 1",
            "# syntax=b",
        ),
        (
            "FROM a\nRUN <<EOF\nx",
            2,
            "unterminated heredoc; a line with EOF alone must end it",
            "<<EOF",
        ),
        (
            f"FROM a\nRUN {'x' * 65532}",
            2,
            "dockerfile line greater than max allowed size of 65535",
            None,
        ),
        ("ONBUILD " * 30 + "RUN a", 1, "ONBUILD is nested too deeply", None),
    ],
)
def test_what_cannot_be_read(text: str, line: int, says: str, under: str | None) -> None:
    error = refused(text)
    assert str(error) == f"Dockerfile:{line}: {says}"
    head, shown, caret = error.report().split("\n")
    assert head == str(error)
    assert len(shown) < 200
    start = caret.index("^")
    if under is not None:
        assert shown[start : start + caret.count("^")] == under
    assert shown.startswith(f"{line:>4} | ")


def test_the_longest_line() -> None:
    assert len(only(f"RUN {'x' * 65531}\n").words[0]) == 65531
    assert refused("RUN " + "é" * 32766).line == 1


def test_deep_json_is_no_crash() -> None:
    assert "strings only" in str(refused("RUN " + "[" * 60000))


def test_the_nearest_word() -> None:
    assert nearest("RUNN", ["RUN", "FROM"]) == "did you mean RUN?"
    assert nearest("xyz", ["RUN", "FROM"]) == "known are FROM, RUN"


def test_an_error_is_short_whatever_the_line_is() -> None:
    assert len(str(refused(f"ENV {'x' * 60000}"))) < 1000


LINES = st.lists(
    st.one_of(
        st.text(max_size=20),
        st.sampled_from(
            ["FROM a", "RUN a \\", "# c", "# escape=`", "RUN <<E", "E", "COPY <<-'E' <<F /x", "F", "", "\\", "ONBUILD",
             "ENV a=${b:-", 'CMD ["a"', "ARG a='", "LABEL a b", "HEALTHCHECK CMD [", "RUN --x='", "ONBUILD RUN <<'E"]
        ),
    )
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(LINES, st.sampled_from(["\n", "\r\n", "\r"]))
def test_any_text_is_read_or_refused(lines: list[str], end: str) -> None:
    data = end.join(lines).encode("utf-8", "surrogatepass")
    try:
        document = parse(data, "D")
    except DockerfileError as error:
        assert str(error).startswith(f"D:{error.line}: ")
        assert len(error.report().split("\n")) == 3
        assert "^" in error.report()
    else:
        assert document.dump()
        assert all(
            0 < node.start <= node.end <= len(document.source.lines) for node in document.nodes
        )


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        assert parse(data).nodes
    except DockerfileError as error:
        assert str(error).startswith("Dockerfile:")


@needs_corpus
def test_others_files_give_the_trees_that_buildkit_prints() -> None:
    folders = sorted([*Path(CORPUS).glob("testfiles/*/"), *Path(CORPUS).glob("dockerfiles/*/")])
    assert len(folders) > 700
    files = [(folder / "Dockerfile").read_bytes() for folder in folders]
    began = time.perf_counter()
    trees = [f"{parse(data).dump()}\n" for data in files]
    took = time.perf_counter() - began
    unequal = [
        folder.name
        for folder, dumped in zip(folders, trees, strict=True)
        if dumped != (folder / "result").read_bytes().decode("utf-8", "surrogateescape")
    ]
    assert unequal == []
    assert took < 2


@needs_corpus
def test_others_broken_files_are_refused() -> None:
    folders = sorted(Path(CORPUS).glob("negative/*/"))
    assert len(folders) >= 4
    for folder in folders:
        with pytest.raises(DockerfileError, match=r"^.+:\d+: "):
            parse((folder / "Dockerfile").read_bytes())
