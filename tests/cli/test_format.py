"""Templates, tables and escaping, against what Go prints."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.cli.format import escape, render, render_rows
from sampan.errors import SampanError

VALUE: dict[str, Any] = {
    "Id": "abc",
    "Names": ["a", "b"],
    "Size": 42,
    "Half": 0.5,
    "Yes": True,
    "No": False,
    "Nil": None,
    "Empty": [],
    "Config": {"Labels": {"k": "v", "a.b": "c"}, "Cmd": ["/bin/sh", "-c"], "User": ""},
    "Label": lambda key: f"<{key}>",
}


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ("plain", "plain"),
        ("{{.Id}}", "abc"),
        ("{{.ID}} {{ .id }}", "abc abc"),
        (r"{{.Id}}\t{{.Size}}\n", "abc\t42\n"),
        ("{{.Config.Cmd}}", "[/bin/sh -c]"),
        ("{{.Config.Labels}}", "map[a.b:c k:v]"),
        ("{{.Config.Labels.k}} {{.Config.Labels.none}}", "v <no value>"),
        ('{{index .Config.Labels "a.b"}}{{index .Config.Labels "x"}}', "c"),
        ("{{index .Names 1}}", "b"),
        ('{{.Label "x"}}', "<x>"),
        ("{{.Yes}} {{.No}} {{.Nil}} {{.Half}}", "true false <nil> 0.5"),
        ("{{json .Names}} {{json .Config.User}}", '["a","b"] ""'),
        ("{{.Names | json}}", '["a","b"]'),
        ("{{range .Names}}<{{.}}>{{end}}", "<a><b>"),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ("{{range $i, $n := .Names}}{{$i}}={{$n}} {{end}}", "0=a 1=b "),
        ("{{range $n := .Names}}{{$n}}{{$.Size}}{{end}}", "a42b42"),
        ("{{range $k, $v := .Config.Labels}}{{$k}}:{{$v}};{{end}}", "a.b:c;k:v;"),
        ("{{if .Yes}}y{{else}}n{{end}}{{if .Nil}}y{{else}}n{{end}}", "yn"),
        ('{{if eq .Id "x"}}1{{else if eq .Id "abc"}}2{{else}}3{{end}}', "2"),
        ("{{with .Config}}{{.User}}{{len .Cmd}}{{end}}", "2"),
        ("{{with .Nil}}x{{else}}{{.Id}}{{end}}", "abc"),
        ("{{$x := .Size}}{{$x}}{{$x = 1}}{{$x}}", "421"),
        ("a {{- .Id -}} b", "aabcb"),
        ("a{{/* no */}}b{{- /* no */ -}} c", "abc"),
        ('{{printf "%-6s|%5d|%q|%v|%%" .Id .Size .Id .Names}}', 'abc   |   42|"abc"|[a b]|%'),
        ('{{printf "%05d %x %X %t %.2f %s" .Size .Size .Id .Yes .Half .Names}}',
         "00042 2a 616263 true 0.50 [a b]"),
        ('{{printf "%d" .Id}} {{printf "%s"}}', "%!d(string=abc) %!s(MISSING)"),
        ('{{join .Names ","}} {{split "a-b" "-"}} {{upper .Id}} {{lower "AB"}} {{title "ab cd"}}',
         "a,b [a b] ABC ab Ab Cd"),
        ('{{truncate .Id 2}} {{pad "x" 1 2}}|{{len .Id}}', "ab  x  |3"),
        ("{{and .Yes .Size}} {{or .Nil .Id}} {{not .Yes}}", "42 abc false"),
        ("{{eq .Size 1 42}} {{ne .Id `abc`}} {{lt 1 2}} {{ge 1 2}} {{gt 2.5 1}} {{le 2 2}}",
         "true false true false true true"),
        ('{{(index .Names 0) | printf "%s%s" "x"}}', "xa"),
        ("{{(.Config).User}}{{slice .Id 1 2}}", "b"),
        ("{{println .Id .Size}}", "abc 42\n"),
        ('{{"}}"}}{{`{{`}}', "}}{{"),
        ('{{if and (eq .Id "abc") (not .No)}}ok{{end}}', "ok"),
        ("{{- range .Names}}\n{{- .}}{{end}}", "ab"),
    ],
)  # fmt: skip
def test_render(template: str, wanted: str) -> None:
    assert render(template, VALUE) == wanted


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{.Nope}}", "no field .Nope; there are .Config"),
        ("{{.Id.X}}", "has no field .X"),
        ("{{nope 1}}", "not known"),
        ("{{.Id", "}} is missing"),
        ("{{if .Id}}", "{{end}} is missing"),
        ("{{end}}", "unexpected"),
        ("{{index .Names 7}}", "cannot call index"),
        ('{{"x}}', "}} is missing"),
        ("{{$x}}", "not declared"),
        ("{{}}", "a value is missing"),
        ("{{eq 1 `a`}}", "different types"),
        ("{{template `x`}}", "not supported"),
        ("{{(1}}", ") is missing"),
    ],
)
def test_errors(template: str, why: str) -> None:
    with pytest.raises(SampanError) as caught:
        render(template, VALUE)
    assert why in str(caught.value)


ROWS = [{"ID": "1", "Name": "one"}, {"ID": "22", "Name": "a much longer name"}]
COLUMNS = [("IMAGE ID", "ID"), ("NAME", "Name")]


def test_tables() -> None:
    assert render_rows(None, ROWS, COLUMNS) == (
        "IMAGE ID    NAME\n1           one\n22          a much longer name"
    )
    assert render_rows("table", ROWS, COLUMNS, heading=False).startswith("1  ")
    assert render_rows(r"table {{.Name}}\t{{.ID}}", ROWS, COLUMNS).splitlines() == [
        "NAME                IMAGE ID",
        "one                 1",
        "a much longer name  22",
    ]
    assert render_rows("table {{.CreatedAt}}", [], COLUMNS) == "CREATED AT"
    assert render_rows("{{.ID}}", ROWS, COLUMNS) == "1\n22"
    assert render_rows("{{.ID}}", [], COLUMNS) == ""
    assert render_rows("json", [], COLUMNS) == "[]"
    assert '"Name": "one"' in render_rows("json", ROWS, COLUMNS)


def test_escape() -> None:
    assert escape("plain ä 日本") == "plain ä 日本"
    assert escape("a\x1b[31m\n\t\x7f\x9b\u202e") == (
        "a\\u001b[31m\\u000a\\u0009\\u007f\\u009b\\u202e"
    )
    evil = [{"ID": "\x1b]0;x\x07\u202e", "Name": "a\nb"}]
    for template in (None, "{{.ID}}", "table {{.ID}}", "json", "{{json .}}"):
        text = render_rows(template, evil, COLUMNS)
        assert not set(text) & {"\x1b", "\x07", "\u202e"}
    assert len(render_rows(None, evil, COLUMNS).splitlines()) == 2
