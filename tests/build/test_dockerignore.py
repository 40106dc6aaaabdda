"""Files that are left out of a context: patterns, their order, and how a tree is walked with them."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sampan_build.dockerfile import globs, ignore
from sampan_build.dockerfile.ignore import NONE, Ignore, IgnoreError, Pattern
from sampan_build.dockerfile.paths import clean


def left_out(text: str, paths: str) -> list[str]:
    found = ignore.read(text.encode())
    return [path for path in paths.split() if found.ignores(path)]


@pytest.mark.parametrize(
    ("text", "paths", "expected"),
    [
        ("a", "a a/b b b/a ab", "a a/b"),
        ("/a/", "a a/b b/a", "a a/b"),
        ("./a//b/../c", "a/c a/b a", "a/c"),
        ("*", "a a/b .git", "a a/b .git"),
        ("*.o", "x.o x.ob a/x.o .o", "x.o .o"),
        ("a?c", "abc ac a/c", "abc"),
        ("*/x", "a/x x a/b/x a/x/y", "a/x a/x/y"),
        ("**/x", "x a/x a/b/x ax a/x/y", "x a/x a/b/x a/x/y"),
        ("**/*.o", "x.o a/x.o a/b/x.o x.ox", "x.o a/x.o a/b/x.o"),
        ("a/**", "a a/b a/b/c ab", "a/b a/b/c"),
        ("a/**/b", "a/b a/x/b a/x/y/b ab a/xb", "a/b a/x/b a/x/y/b"),
        ("a**", "a ab a/b b", "a ab a/b"),
        ("**b", "b ab a/b a/ab ba", "b ab a/b a/ab"),
        ("a**b", "ab a/b axb ax/b", "ab a/b ax/b"),
        ("**", "a a/b", "a a/b"),
        ("**/**", "a a/b", "a a/b"),
        ("**/a/b", "a/b x/a/b xa/b", "a/b x/a/b"),
        ("**/a/*/b*", "a/x/b y/a/x/bc a/b", "a/x/b y/a/x/bc"),
        ("[a-c]x", "ax cx dx", "ax cx"),
        ("[^a]x", "ax bx", "bx"),
        ("[a\\]]x", "ax ]x", "ax ]x"),
        ("[c-a]x", "ax cx", ""),
        ("\\*x \n\\[y", "*x ax [y", "*x [y"),
        ("a.b+(c)$^{d}", "a.b+(c)$^{d} aXb+(c)$^{d}", "a.b+(c)$^{d}"),
        (".", ". a", ""),
        ("/", "a", ""),
        ("..", "a .. ../a", ".. ../a"),
        ("# c\n #d\n\n  e  \n", "#d e # c", "#d e"),
        ("a\n!a/b", "a a/b a/c", "a a/c"),
        ("!a/b\na", "a a/b", "a a/b"),
        ("a\n! a/b\na/b/c", "a a/b a/b/c a/b/d", "a a/b/c"),
        ("*\n!**/*.py", "top.py sub sub/x sub/deep/x.py", "sub sub/x"),
        ("**\n!./source.txt", "source.txt a/source.txt b", "a/source.txt b"),
        ("dir\n!dir*/file1\n!dir/file2", "dir dir/file1 dir/file2 dir/file3", "dir dir/file3"),
        ("*\n!foo/**/etc", "foo foo/etc foo/a/etc foo/a/b bar", "foo foo/a/b bar"),
    ],
)
def test_patterns(text: str, paths: str, expected: str) -> None:
    assert left_out(text, paths) == expected.split()
    assert left_out("\ufeff" + text.replace("\n", "\r\n"), paths) == expected.split()


def test_a_name_that_is_no_text() -> None:
    assert ignore.read(b"a\xff*").ignores("a\udcffb")
    assert ignore.read(b"*.o").ignores("a\nb.o")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a\n!", '.dockerignore:2: illegal exclusion pattern: "!"; see the pattern "!"'),
        ("[a", ".dockerignore:1: syntax error in pattern: [ without ]"),
        ("[", ".dockerignore:1: syntax error in pattern: [ without ]"),
        ("[]a]", ".dockerignore:1: syntax error in pattern: [ ] holds characters and ranges"),
        ("[a-]", ".dockerignore:1: syntax error in pattern: [ ] holds characters and ranges"),
        ("[a\\", ".dockerignore:1: syntax error in pattern: [ without ]"),
        ("x\\", ".dockerignore:1: syntax error in pattern: \\ at its end"),
        ("a**b*c*d**e", ".dockerignore:1: too many wildcards"),
    ],
)
def test_patterns_that_are_refused(text: str, says: str) -> None:
    with pytest.raises(IgnoreError) as caught:
        ignore.read(text.encode())
    assert str(caught.value).startswith(says)


def test_the_names_of_the_file() -> None:
    assert ignore.names("build/My.Dockerfile") == (
        "build/My.Dockerfile.dockerignore",
        ".dockerignore",
    )


def test_exclude() -> None:
    found = ignore.exclude(["*.o", "!keep.o", "a/b"])
    assert [path for path in ("x.o", "keep.o", "a/b/c", "b") if found.ignores(path)] == [
        "x.o",
        "a/b/c",
    ]
    assert not ignore.exclude([]).ignores("a")
    with pytest.raises(IgnoreError, match=r"^--exclude=\[: syntax error"):
        ignore.exclude(["["])


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ("a", "a", False),
        ("a\n!b/c", "a", False),
        ("a\n!a/b", "a", True),
        ("a\n!a/b", "a/b", False),
        ("a\n!a/b/c", "a/b", True),
        ("a\n!a/*/c", "a/x", True),
        ("a\n!a/*/c", "a/x/y", False),
        ("a\n!**/c", "a/x/y", True),
        ("*\n!b*/c", "a", True),
        ("!a/b\na", "a", False),
    ],
)
def test_which_directories_need_not_be_entered(text: str, path: str, expected: bool) -> None:
    found = ignore.read(text.encode())
    level = NONE
    words = path.split("/")
    for depth in range(1, len(words) + 1):
        level = found.level("/".join(words[:depth]), level)
    assert found.may_return(path, level) is expected


def plain_regex(text: str) -> str:
    """The expression that moby/patternmatcher makes of a pattern, word for word."""
    made, at = "", 0
    while at < len(text):
        char = text[at]
        at += 1
        if text.startswith("**", at - 1):
            at += 1 + text.startswith("/", at + 1)
            made += ".*" if at == len(text) else "(.*/)?"
        elif char == "\\":
            made += re.escape(text[at])
            at += 1
        else:
            made += {"*": "[^/]*", "?": "[^/]", "[": "[", "]": "]", "^": "^", "-": "-"}.get(
                char
            ) or re.escape(char)
    return made


def plain_match(text: str, path: str) -> bool:
    if text.startswith("**") and globs.is_plain(text[2:]):
        rest = text[2:]
        return path.endswith(rest) or (rest.startswith("/") and path == rest[1:])
    return bool(re.fullmatch(plain_regex(text), path, re.DOTALL))


def plain_ignores(patterns: list[Pattern], path: str) -> bool:
    """The same question without any shortcut: every pattern against the path and all directories above it."""
    words = path.split("/")
    above = ["/".join(words[:depth]) for depth in range(1, len(words) + 1)]
    ignored = False
    for pattern in patterns:
        if any(plain_match(pattern.text, one) for one in above):
            ignored = not pattern.takes_back
    return ignored


WORDS = st.sampled_from(
    [
        "a",
        "b",
        "ab",
        "*",
        "**",
        "a*",
        "*b",
        "?",
        "[ab]",
        "[^a]",
        "a?b",
        "*a*b*",
        "a**",
        "**b",
        "\\a",
        "a*b",
    ]
)
PATTERNS = st.lists(WORDS, min_size=1, max_size=4).map("/".join)
PATHS = st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=5).map("/".join)


@settings(max_examples=600, deadline=None)
@given(
    st.lists(st.tuples(PATTERNS, st.booleans()), max_size=5),
    st.lists(PATHS, min_size=1, max_size=8),
)
def test_any_patterns_decide_like_the_plain_model(
    rows: list[tuple[str, bool]], paths: list[str]
) -> None:
    patterns = [Pattern(clean(text), takes_back) for text, takes_back in rows]
    try:
        for pattern in patterns:
            globs.check(pattern.text)
    except globs.GlobError:
        assume(False)
    found = Ignore(patterns)
    for path in paths:
        assert found.ignores(path) is plain_ignores(patterns, path), path


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(PATTERNS, st.booleans()), max_size=5), PATHS, PATHS)
def test_nothing_is_missed_in_directories_that_are_not_entered(
    rows: list[tuple[str, bool]], top: str, rest: str
) -> None:
    try:
        found = Ignore([Pattern(text, takes_back) for text, takes_back in rows])
    except globs.GlobError:
        assume(False)
    level = NONE
    words = top.split("/")
    for depth in range(1, len(words) + 1):
        level = found.level("/".join(words[:depth]), level)
    if found.is_ignored(level) and not found.may_return(top, level):
        assert found.ignores(f"{top}/{rest}")


@settings(max_examples=200, deadline=None)
@given(st.text("ab*?[]^-\\/!.# ", max_size=12))
def test_any_line_is_read_or_refused(line: str) -> None:
    try:
        ignore.read(line.encode()).ignores("a/b")
    except IgnoreError as error:
        assert str(error).startswith(".dockerignore:1: ")


def test_many_wildcards_take_no_longer() -> None:
    began = time.perf_counter()
    for text in ("**/a/" * 30 + "b", "*a" * 100 + "b", "**/*a*/" * 20 + "b"):
        found = ignore.read(text.encode())
        assert not found.is_ignored(found.level("a/" * 1000 + "a"))
        assert not found.is_ignored(found.level("a" * 2000))
    assert time.perf_counter() - began < 5


def test_a_large_tree_takes_little() -> None:
    text = "\n".join(
        ["**/node_modules", "**/*.py[cod]", "**/__pycache__", ".git", "*.md", "!README.md", "build/**", "**/.DS_Store",
         "docs/*/draft*", "**/*.*proj.user", "**/bin", "**/obj", "src/**/test/*.tmp", "dist", "/coverage/", "**/.env*"]
    )  # fmt: skip
    found = ignore.read(text.encode())
    began = time.perf_counter()
    kept = 0
    for top in range(50):
        above = found.level(f"src{top}")
        for middle in range(20):
            folder = f"src{top}/part{middle}"
            level = found.level(folder, above)
            kept += sum(
                not found.is_ignored(found.level(f"{folder}/file{at}.pyc", level))
                for at in range(2)
            )
            kept += sum(
                not found.is_ignored(found.level(f"{folder}/file{at}.txt", level))
                for at in range(48)
            )
    assert kept == 48000
    assert time.perf_counter() - began < 2
