"""Flags of instructions: `--name=value`."""

from __future__ import annotations

from sampan_build.dockerfile.arguments import ArgumentError
from sampan_build.dockerfile.source import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BOOLEANS = {"true": True, "false": False}


class Flags:
    """The flags of one instruction, of which every one is known."""

    def __init__(self, words: Sequence[str], kinds: Mapping[str, str]) -> None:
        """kinds: name -> text (once, with a value), texts (any number of times), switch (true, false or alone)."""
        self._values: dict[str, list[str]] = {}
        self._switches: dict[str, bool] = {}
        for word in words:
            flag, sign, value = word.partition("=")
            name = flag[2:]
            kind = kinds.get(name)
            if kind is None:
                hint = (
                    nearest(name, kinds).replace("mean ", "mean --")
                    if kinds
                    else "it takes no flags"
                )
                raise ArgumentError(f"unknown flag: {flag}", hint, flag)
            if kind != "texts" and (name in self._values or name in self._switches):
                raise ArgumentError(f"duplicate flag specified: {flag}", "give it once", word)
            if kind == "switch":
                self._switches[name] = _boolean(flag, bool(sign), value)
            elif not sign:
                raise ArgumentError(f"missing a value on flag: {flag}", f"write {flag}=VALUE", flag)
            else:
                self._values.setdefault(name, []).append(value)

    def text(self, name: str, default: str = "") -> str:
        return self._values.get(name, [default])[0]

    def texts(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def switch(self, name: str) -> bool | None:
        """None where it is not given."""
        return self._switches.get(name)


def _boolean(flag: str, given: bool, value: str) -> bool:
    if not given:
        return True
    if not value:
        raise ArgumentError(f"missing a value on flag: {flag}", "true or false is wanted", flag)
    if value.lower() not in BOOLEANS:
        raise ArgumentError(
            f"expecting boolean value for flag {flag}, not: {value}",
            "true or false is wanted",
            value,
        )
    return BOOLEANS[value.lower()]
