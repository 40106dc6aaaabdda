"""Words of a Dockerfile: quotes, escapes, variables and their modifiers."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan_build.dockerfile import pattern
from sampan_build.dockerfile.words import Lexer, WordError

ENV = {
    "HOME": "/h",
    "SH": "bash",
    "EMPTY": "",
    "F": "a.tar.gz",
    "P": "/x/y/z",
    "W": " a  b ",
    "U": "é€",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hello", "hello"),
        ("he'll'o", "hello"),
        (r"he\'llo", "he'llo"),
        (r"abc\tdef", "abctdef"),
        (r'"abc\tdef"', r"abc\tdef"),
        (r'"a\\b\"c\$d"', r'a\b"c$d'),
        (r"'abc\tdef'", r"abc\tdef"),
        ("end\\", "end"),
        (r"end\\", "end\\"),
        ('"it\'s"', "it's"),
        ("$.", "$."),
        ("$", "$"),
        ("a$1x", "ax"),
        ("$10x$@$@@", "x@"),
        ("$HOME/$SH", "/h/bash"),
        (r"\$HOME '$HOME' \\$HOME", r"$HOME $HOME \/h"),
        (r"\${} $home", "${} "),
        ("${HOME}x${NO}y", "/hxy"),
        ("${NO-a}${NO:-b}${EMPTY-c}${EMPTY:-d}${SH:-e}", "abdbash"),
        ("${NO+a}${NO:+b}${EMPTY+c}${EMPTY:+d}${SH:+e}", "ce"),
        ("${EMPTY?x}${SH:?x}", "bash"),
        ("${NO:-${EMPTY:-$HOME}}", "/h"),
        ("${NO:-'a}b'\"c}d\"e\\}f}", "a}bc}de}f"),
        ("${NO:-a b}", "a b"),
        ("${aaa}}", "}"),
        ("${NO:-a {b}", "a {b"),
        ("${F#*.}", "tar.gz"),
        ("${F##*.}", "gz"),
        ("${F%.*}", "a.tar"),
        ("${F%%.*}", "a"),
        ("${F#?}${F%??}", ".tar.gza.tar."),
        ("${F#x}${F#[a]}", "a.tar.gza.tar.gz"),
        ("${NO#a}${EMPTY%%*}", ""),
        ("${P/y/Y}", "/x/Y/z"),
        ("${P/\\//-}", "-x/y/z"),
        ("${P//\\//-}", "-x-y-z"),
        ("${P//\\/?/}", ""),
        ("${P/q/-}", "/x/y/z"),
        ("${F//a/$SH}", "bash.tbashr.gz"),
        ("${F/a*/x}", "x"),
        ("${F/t*r/x\\}y}", "a.x\\}y.gz"),
        ("$U$UU${U%?}", "é€é"),
        ("a<b <<c", "a<b <<c"),
    ],
)  # fmt: skip
def test_one_word(text: str, expected: str) -> None:
    assert Lexer().expand(text, ENV).text == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("he'llo", "looking for matching single-quote"),
        ('"he', "looking for matching double-quote"),
        ('"he\\"', "looking for matching double-quote"),
        ("${", "missing '}'"),
        ("${HOME", "unsupported modifier () in substitution"),
        ("${NO:-x", "missing '}'"),
        ("${}", "bad substitution"),
        ("${{x}", "bad substitution"),
        ("${:-x}", "bad substitution"),
        ("${.}", "unsupported modifier (.) in substitution"),
        ("${HOME:=x}", "unsupported modifier (:=) in substitution"),
        ("${HOME:#x}", "unsupported modifier (:#) in substitution"),
        ("${HOME:", "unsupported modifier (:) in substitution"),
        ("${NO?}", "NO: is not allowed to be unset"),
        ("${EMPTY:?}", "EMPTY: is not allowed to be empty"),
        ("${NO:?set it to $HOME}", "NO: set it to /h"),
        ("${F/a}", "missing '/' in ${}"),
        ("${F/a/b", "missing '}'"),
        (r"${F#\x}", r"invalid pattern (\x) in substitution: invalid escape '\x'"),
        ("${a:-" * 500, "nested too deeply"),
    ],
)
def test_what_cannot_be_read(text: str, why: str) -> None:
    with pytest.raises(WordError) as caught:
        Lexer().expand(text, ENV)
    assert str(caught.value).startswith("failed to process ")
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b  c", ["a", "b", "c"]),
        ("", []),
        ("x${W}y", ["x", "a", "b", "y"]),
        ('x"$W"y', ["x a  b y"]),
        ("a\\ b", ["a b"]),
        ("x${NO:-y} z", ["xy", "z"]),
        ("'a b'c d", ["a bc", "d"]),
        ("''", []),
    ],
)
def test_many_words(text: str, expected: list[str]) -> None:
    assert Lexer().expand(text, ENV).words == expected


def test_which_variables_were_looked_up() -> None:
    found = Lexer().expand("$HOME ${NO:-$OTHER} '$quoted' \\$escaped ${EMPTY}", ENV)
    assert found.matched == {"HOME", "EMPTY"}
    assert found.unmatched == {"NO", "OTHER"}


def test_other_ways_to_read() -> None:
    assert Lexer("`").expand("a`$b\\c$HOME", ENV).text == "a$b\\c/h"
    assert Lexer(raw_quotes=True).expand("'a' \"$SH\"", ENV).text == "'a' \"bash\""
    assert Lexer(raw_escapes=True).expand('a\\"b "c\\$d"', ENV).text == 'a\\"b c\\$d'
    assert Lexer(keep_quotes=True).expand('it\'s "$SH"', ENV).text == 'it\'s "bash"'
    unset = "$NO ${NO} ${NO:-x} ${NO#y} ${NO/a/b}"
    assert Lexer(keep_unset=True).expand(f"$SH {unset}", ENV).text == f"bash {unset}"


@pytest.mark.parametrize(
    ("sign", "value", "every", "expected"),
    [("*", "abc", True, "r"), ("", "ab", True, "rarbr"), ("", "ab", False, "rab"), ("b*", "abcabc", True, "ar"),
     ("a", "aaa", True, "rrr"), ("a", "aaa", False, "raa"), ("?", "ab\nc", True, "rr\nr"), ("*", "", True, "r"),
     ("*c", "abc\nc", False, "r\nc")],
)  # fmt: skip
def test_replacing(sign: str, value: str, every: bool, expected: str) -> None:
    assert pattern.replace(sign, value, "r", every) == expected


def as_regex(sign: str, greedy: bool) -> re.Pattern[str]:
    """The pattern as BuildKit compiles it."""
    wild = {"*": ".*" if greedy else ".*?", "?": "."}
    return re.compile("".join(wild.get(char) or re.escape(char) for char in sign))


SIGNS = st.text("ab*?\n", max_size=6)
VALUES = st.text("ab\n", max_size=10)


@settings(max_examples=200)
@given(SIGNS, VALUES, st.booleans())
def test_trimming_is_what_the_regular_expression_does(sign: str, value: str, greedy: bool) -> None:
    found = as_regex(sign, greedy).match(value)
    assert pattern.trim_prefix(sign, value, greedy) == (value[found.end() :] if found else value)
    backwards = as_regex(sign[::-1], greedy).match(value[::-1])
    expected = value[: len(value) - backwards.end()] if backwards else value
    assert pattern.trim_suffix(sign, value, greedy) == expected


@settings(max_examples=200)
@given(SIGNS, VALUES)
def test_the_first_match_is_replaced(sign: str, value: str) -> None:
    assert pattern.replace(sign, value, "<>", False) == as_regex(sign, True).sub(
        "<>", value, count=1
    )


def test_no_pattern_takes_long() -> None:
    assert pattern.trim_prefix("*a" * 200 + "b", "a" * 20000, True) == "a" * 20000


@settings(max_examples=200)
@given(st.text("ab$ {}:-+?#%/'\"\\<*\n", max_size=25), st.sampled_from("\\`"))
def test_any_text_is_read_or_refused(text: str, escape: str) -> None:
    try:
        Lexer(escape).expand(text, {"a": "b a", "ab": ""})
    except WordError as error:
        assert str(error)
