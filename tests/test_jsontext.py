"""JSON without `json`: the same values and texts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan import jsontext

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_texts_and_values_are_those_of_json(value: Any) -> None:
    text = jsontext.dumps(value)
    assert text == json.dumps(value)
    assert jsontext.dumps(value, sort_keys=True) == json.dumps(value, sort_keys=True)
    assert jsontext.dumps(value, compact=True) == json.dumps(value, separators=(",", ":"))
    assert jsontext.loads(text) == jsontext.loads(f"\n {text}\t".encode()) == value
    assert jsontext.pretty(value, 5) == json.dumps(value, indent=5, ensure_ascii=False)


def test_sequences_and_lone_surrogates() -> None:
    assert jsontext.dumps((1, ("\udc80",))) == '[1, ["\\udc80"]]'
    assert jsontext.pretty({"a": (1, ())}, 1) == json.dumps({"a": (1, ())}, indent=1)
    assert jsontext.loads(b'"\\udc80"') == "\udc80"


@pytest.mark.parametrize(
    "text",
    ["", " ", "{", "[1,]", '{"a" 1}', "nul", "1 2", "[] x", '"a', '"\x01"', b"\xff", b'"\xff"',
     "\xa01", "'a'", "[" * 99999],
)  # fmt: skip
def test_what_is_no_json_is_refused(text: str | bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        jsontext.loads(text)


@pytest.mark.parametrize("value", [b"x", {1, 2}, object(), [{"a": 1j}], {(1, 2): 3}])
def test_what_has_no_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        jsontext.dumps(value)


def test_a_value_within_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(RecursionError):
        jsontext.dumps(loop)
