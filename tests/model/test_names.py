"""Container names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.errors import UsageError
from sampan.model import names


def test_random_names() -> None:
    made = {names.random_name() for _ in range(400)}
    assert len(made) > 300
    for name in made:
        assert names.check(name) == name
    assert len(set(names.FIRST)) == len(names.FIRST)
    assert len(set(names.SECOND)) == len(names.SECOND)


@pytest.mark.parametrize("name", ["a", "9", "A.b-c_d", "x" * 250])
def test_good_names(name: str) -> None:
    assert names.check(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".a", "-a", "_a", "a/b", "a b", "a\n", "é", "aé", "\u0661", "x" * 251]
)
def test_bad_names(name: str) -> None:
    with pytest.raises(UsageError, match="invalid container name"):
        names.check(name)


@given(st.text(max_size=40))
def test_a_name_is_safe_as_a_file_name(name: str) -> None:
    try:
        names.check(name)
    except UsageError:
        return
    assert "/" not in name and not name.startswith(".") and name.isascii() and name.isprintable()
