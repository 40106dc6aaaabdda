"""Go's text/template, as much of it as `--format` needs: parse to a tree, then walk it over plain
values.

Values are what JSON has: dicts, lists, strings, numbers, booleans, None; a callable in a dict is
a method. A field that a dict lacks is an error that lists what there is, except in maps whose
keys are the user's (labels and the like), where it is `<no value>` as in Go.  A name is also
found in another letter case (.Id, .ID).
"""

from __future__ import annotations

from sampan.cli import functions
from sampan.cli.grammar import Parser, bad_format, pieces
from sampan.cli.values import NO_VALUE, is_list, is_object, text_of, truth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sampan.errors import UsageError

    Node = tuple[Any, ...]

OPEN_MAPS = frozenset(
    (
        "Labels",
        "Annotations",
        "ExposedPorts",
        "Volumes",
        "Ports",
        "PortBindings",
        "Networks",
        "Options",
        "Sysctls",
        "LogOpts",
        "Data",
    )
)
_BLOCKS = frozenset(("if", "range", "with"))
_UNSUPPORTED = frozenset(("define", "template", "block", "break", "continue"))


class Template:
    """A parsed template. `text` is kept for messages."""

    def __init__(self, text: str, *, columns: bool = False) -> None:
        self.text = text
        self._pieces = list(pieces(text, columns))
        self._at = 0
        self._nodes, ended = self._block(())
        if ended:
            raise self.error(f"unexpected {{{{{ended}}}}}")

    def render(self, value: Any, show: Callable[[str], str] | None = None) -> str:
        """The text for a value; `show` is applied to each value that is printed."""
        out: list[str] = []
        walker = _Walker(self, value, out, show)
        walker.walk(self._nodes, value)
        return "".join(out)

    def error(self, why: str) -> UsageError:
        return bad_format(self.text, why)

    def _block(self, ends: tuple[str, ...]) -> tuple[list[Node], str]:
        """The nodes up to one of the words that end it, and that word's action."""
        nodes: list[Node] = []
        while self._at < len(self._pieces):
            is_action, text = self._pieces[self._at]
            self._at += 1
            if not is_action:
                nodes.append(("text", text))
                continue
            if text.startswith("/*"):
                continue
            word = text.split(None, 1)[0] if text.split() else ""
            if word in ("end", "else"):
                if word not in ends:
                    raise self.error(f"unexpected {{{{{text}}}}}")
                return nodes, text
            nodes.append(self._action(word, text))
        if ends:
            raise self.error("an {{end}} is missing")
        return nodes, ""

    def _action(self, word: str, text: str) -> Node:
        if word in _UNSUPPORTED:
            raise self.error(f"{word} is not supported")
        if word not in _BLOCKS:
            return ("print", Parser(self.text, text).pipeline_only())
        rest = text[len(word) :]
        pipeline = Parser(self.text, rest).pipeline_only()
        body, ended = self._block(("end", "else"))
        otherwise: list[Node] = []
        if ended.startswith("else"):
            nested = ended[4:].strip()
            if nested:  # {{else if X}} shares the {{end}}
                otherwise = [self._action(nested.split(None, 1)[0], nested)]
            else:
                otherwise, _ = self._block(("end",))
        return (word, pipeline, body, otherwise)


class _Walker:
    """The state of one rendering: the root, the variables in scope, the output."""

    def __init__(
        self, template: Template, root: Any, out: list[str], show: Callable[[str], str] | None
    ) -> None:
        self.template, self.out, self.show = template, out, show
        self.variables: list[tuple[str, Any]] = [("$", root)]

    def walk(self, nodes: list[Node], dot: Any) -> None:
        depth = len(self.variables)
        for node in nodes:
            kind = node[0]
            if kind == "text":
                self.out.append(node[1])
            elif kind == "print":
                value = self._pipe(node[1], dot)
                if not node[1][1]:  # a declaration prints nothing
                    text = text_of(value)
                    self.out.append(self.show(text) if self.show else text)
            elif kind == "range":
                self._range(node, dot)
            else:
                inner = len(self.variables)
                value = self._pipe(node[1], dot)
                chosen = node[2] if truth(value) else node[3]
                within = value if kind == "with" and truth(value) else dot
                self.walk(chosen, within)
                del self.variables[inner:]
        del self.variables[depth:]

    def _range(self, node: Node, dot: Any) -> None:
        _, (_, names, _, commands), body, otherwise = node
        value = self._pipe(("pipe", [], False, commands), dot)
        pairs: list[tuple[Any, Any]]
        if is_object(value):
            pairs = sorted(value.items())
        elif is_list(value):
            pairs = list(enumerate(value))
        elif isinstance(value, int) and not isinstance(value, bool):
            pairs = [(at, at) for at in range(value)]
        elif value is None or value is NO_VALUE:
            pairs = []
        else:
            raise self.template.error(f"range can't go over {text_of(value)[:40]}")
        if not pairs:
            return self.walk(otherwise, dot)
        depth = len(self.variables)
        for key, item in pairs:
            self.variables += zip(names, [item] if len(names) == 1 else [key, item], strict=False)
            self.walk(body, item)
            del self.variables[depth:]

    def _pipe(self, node: Node, dot: Any) -> Any:
        _, names, assigns, commands = node
        value: Any = None
        for at, command in enumerate(commands):
            value = self._command(command, dot, [] if at == 0 else [value])
        for name in names:
            if assigns:
                self._assign(name, value)
            else:
                self.variables.append((name, value))
        return value

    def _assign(self, name: str, value: Any) -> None:
        for at in range(len(self.variables) - 1, -1, -1):
            if self.variables[at][0] == name:
                self.variables[at] = (name, value)
                return
        raise self.template.error(f"variable {name} is not declared")

    def _command(self, operands: list[Node], dot: Any, last: list[Any]) -> Any:
        head, *rest = operands
        if head[0] == "function":
            if head[1] in ("and", "or"):
                return self._lazy(head[1], rest, dot, last)
            arguments = [self._value(node, dot) for node in rest] + last
            return functions.call(head[1], arguments, self.template.error)
        value = self._value(head, dot)
        if callable(value):
            return value(*[self._value(node, dot) for node in rest], *last)
        if rest or last:
            raise self.template.error(f"{text_of(value)[:40]} is no function")
        return value

    def _lazy(self, name: str, rest: list[Node], dot: Any, last: list[Any]) -> Any:
        """and, or: the first argument that decides; the others are not looked at."""
        value: Any = None
        for node in rest:
            value = self._value(node, dot)
            if truth(value) == (name == "or"):
                return value
        return last[0] if last else value

    def _value(self, node: Node, dot: Any) -> Any:
        kind = node[0]
        if kind == "value":
            return node[1]
        if kind == "dot":
            return dot
        if kind == "pipe":
            return self._pipe(node, dot)
        if kind == "variable":
            for name, value in reversed(self.variables):
                if name == node[1]:
                    return value
            raise self.template.error(f"variable {node[1]} is not declared")
        if kind == "function":
            return functions.call(node[1], [], self.template.error)
        is_open = node[1][0] == "field" and node[1][2] in OPEN_MAPS
        return self._field(self._value(node[1], dot), node[2], is_open)

    def _field(self, value: Any, name: str, is_open: bool) -> Any:
        if value is None or value is NO_VALUE:
            return NO_VALUE
        if not is_object(value):
            raise self.template.error(f"{text_of(value)[:40]} has no field .{name}")
        if name in value:
            return value[name]
        if is_open:
            return NO_VALUE
        alike = [key for key in value if key.lower() == name.lower()]
        if len(alike) == 1:
            return value[alike[0]]
        names = ", ".join(f".{key}" for key in sorted(value) if not key.startswith("_"))
        raise self.template.error(f"there is no field .{name}; there are {names[:600]}")
