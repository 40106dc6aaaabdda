"""The parser has pflag's habits, and click shows the same declarations."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from sampan.cli import VERBS
from sampan.cli.parse import FLAG, INTEGER, LIST, Option, Verb, click_command, parse
from sampan.errors import UsageError

VERB = Verb(
    "demo",
    "Show",
    "WORD...",
    [
        Option("--all -a", FLAG, "all"),
        Option("--bare -b", FLAG, "on by default", default=True),
        Option("--count -c", INTEGER, "a number", default=3),
        Option("--env -e", LIST, "many"),
        Option("--name --nick -n", help="one"),
    ],
)
PLAIN = {"all": False, "bare": True, "count": 3, "env": [], "name": None}


@pytest.mark.parametrize(
    ("words", "values", "arguments"),
    [
        ([], {}, []),
        (["-a", "x"], {"all": True}, ["x"]),
        (["x", "--all"], {"all": True}, ["x"]),
        (["--bare=false"], {"bare": False}, []),
        (["-b=0", "-a=T"], {"bare": False, "all": True}, []),
        (["-ac5"], {"all": True, "count": 5}, []),
        (["-ac", "-5"], {"all": True, "count": -5}, []),
        (["-c=7"], {"count": 7}, []),
        (["-eA=1", "-e", "B=2", "--env=C==3", "--env", "-x"], {"env": ["A=1", "B=2", "C==3", "-x"]}, []),
        (["--name="], {"name": ""}, []),
        (["--nick", "--all"], {"name": "--all"}, []),
        (["--", "-a", "--"], {}, ["-a", "--"]),
        (["-"], {}, ["-"]),
        (["", "-n", ""], {"name": ""}, [""]),
        (["-n1", "-n2"], {"name": "2"}, []),
    ],
)  # fmt: skip
def test_words(words: list[str], values: dict[str, Any], arguments: list[str]) -> None:
    assert parse(VERB, words) == ({**PLAIN, **values}, arguments)


def test_the_options_end_at_the_first_argument_of_run() -> None:
    verb = Verb("demo", "", "", VERB.options, interspersed=False)
    assert parse(verb, ["-a", "image", "-c", "--", "-z"])[1] == ["image", "-c", "--", "-z"]
    assert parse(verb, ["-a", "--", "image", "-c"])[1] == ["image", "-c"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--nope"], "unknown flag: --nope"),
        (["-az"], "unknown shorthand flag: 'z' in -az"),
        (["--name"], "flag needs an argument: --name"),
        (["-an"], "flag needs an argument: 'n' in -an"),
        (["--count=many"], "not a whole number"),
        (["--all=maybe"], "true or false"),
        (["--al"], "unknown flag: --al"),
    ],
)
def test_bad_words(words: list[str], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(VERB, words)
    assert told in str(caught.value) and "see 'sampan demo --help'" in str(caught.value)


def test_the_number_of_arguments() -> None:
    verb = Verb("demo", "", "", [], minimum=1, maximum=2)
    for words, told in (([], "at least 1"), (["a"] * 3, "at most 2")):
        with pytest.raises(UsageError, match=told):
            parse(verb, words)


def test_defaults_are_not_shared() -> None:
    parse(VERB, ["-eA"])[0]["env"].append("B")
    assert parse(VERB, [])[0]["env"] == []


def test_click_knows_the_same_options() -> None:
    command = click_command(VERB)
    names = {name for parameter in command.params for name in parameter.opts}
    assert names == {name for option in VERB.options for name in option.names}


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_shows_its_help(verb: str) -> None:
    """Each through the real entry point: exit 0, a usage line, and every long option that it declares."""
    done = subprocess.run(
        [sys.executable, "-m", "sampan", verb, "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0 and f"sampan {verb}" in done.stdout, done.stderr
