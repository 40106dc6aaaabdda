"""Options as data: declared once, parsed without click, shown by click.

Importing click costs more than everything the kernel does to start a container, so the verbs declare their
options as rows of data.  `parse` reads them; `click_command` makes the same rows a click.Command for `--help`
and shell completion.  Both follow pflag's habits, which Docker's and podman's users have in their fingers:
`-itd`, `-eNAME=x`, `--name=x`, `--tls-verify=false`.
"""

from __future__ import annotations

from sampan.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import click

FLAG, VALUE, INTEGER, LIST = "flag", "value", "integer", "list"
OPTIONAL = "optional"  # a value after = or none, which is "true"
TRUE, FALSE = ("true", "1", "t", "yes"), ("false", "0", "f", "no")


class Option:
    """One option: names such as ("--env", "-e"), kind, help, and the metavar of its value."""

    __slots__ = ("default", "help", "key", "kind", "metavar", "names")

    def __init__(
        self, names: str, kind: str = VALUE, help: str = "", metavar: str = "", default: Any = None
    ) -> None:
        self.names = tuple(names.split())
        self.kind, self.help, self.metavar = kind, help, metavar
        self.key = self.names[0].lstrip("-").replace("-", "_")
        if default is None:
            default = False if kind == FLAG else None
        self.default = default


class Verb:
    """A command's declaration: its words, options and what its arguments are."""

    __slots__ = ("arguments", "interspersed", "maximum", "minimum", "name", "options", "summary")

    def __init__(
        self,
        name: str,
        summary: str,
        arguments: str,
        options: list[Option],
        *,
        minimum: int = 0,
        maximum: int | None = None,
        interspersed: bool = True,
    ) -> None:
        self.name, self.summary, self.arguments, self.options = name, summary, arguments, options
        self.minimum, self.maximum, self.interspersed = minimum, maximum, interspersed


def parse(verb: Verb, words: list[str]) -> tuple[dict[str, Any], list[str]]:
    """(values by key, arguments).  UsageError names what is wrong and shows where help is."""
    table = {name: option for option in verb.options for name in option.names}
    values: dict[str, Any] = {
        o.key: ([] if o.kind == LIST and o.default is None else o.default) for o in verb.options
    }
    arguments: list[str] = []
    rest = list(reversed(words))
    while rest:
        word = rest.pop()
        if word == "--":
            arguments += reversed(rest)
            break
        if len(word) < 2 or word[0] != "-":
            arguments.append(word)
            if not verb.interspersed:
                arguments += reversed(rest)
                break
        elif word in ("--help", "-h") and word not in table:
            show_help(verb)
        elif word.startswith("--"):
            _long(verb, table, values, word, rest)
        else:
            _short(verb, table, values, word, rest)
    check_arguments(verb, arguments)
    return values, arguments


def check_arguments(verb: Verb, arguments: list[str]) -> None:
    if len(arguments) < verb.minimum:
        raise _usage(verb, f"requires at least {verb.minimum} arg(s), received {len(arguments)}")
    if verb.maximum == 0 and arguments:
        raise _usage(verb, "takes no arguments")
    if verb.maximum is not None and len(arguments) > verb.maximum:
        raise _usage(verb, f"accepts at most {verb.maximum} arg(s), received {len(arguments)}")


def _usage(verb: Verb, why: str) -> UsageError:
    return UsageError(f"sampan {verb.name}", why, f"see 'sampan {verb.name} --help'")


def _long(
    verb: Verb, table: dict[str, Option], values: dict[str, Any], word: str, rest: list[str]
) -> None:
    name, equals, text = word.partition("=")
    option = table.get(name)
    if option is None:
        if name not in ("--remote", "--config") and _global(word, rest):
            return
        raise _usage(verb, f"unknown flag: {name}")
    if option.kind in (FLAG, OPTIONAL):
        _store(verb, option, values, text if equals else "true", name)
    elif equals:
        _store(verb, option, values, text, name)
    elif rest:
        _store(verb, option, values, rest.pop(), name)
    else:
        raise _usage(verb, f"flag needs an argument: {name}")


def _global(word: str, rest: list[str]) -> bool:
    """A global flag after the verb, as podman's users may write it."""
    from sampan.cli import context

    if not context.flags().take(word, rest):
        return False
    context.flags().apply()
    return True


def _short(
    verb: Verb, table: dict[str, Option], values: dict[str, Any], word: str, rest: list[str]
) -> None:
    letters = word[1:]
    while letters:
        name, letters = f"-{letters[0]}", letters[1:]
        option = table.get(name)
        if option is None:
            if name == "-h":
                show_help(verb)
            raise _usage(verb, f"unknown shorthand flag: {name[1]!r} in {word}")
        if option.kind == FLAG:
            if letters.startswith("="):
                _store(verb, option, values, letters[1:], name)
                return
            _store(verb, option, values, "true", name)
        elif letters:
            _store(verb, option, values, letters.removeprefix("="), name)
            return
        elif rest:
            _store(verb, option, values, rest.pop(), name)
        else:
            raise _usage(verb, f"flag needs an argument: {name[1]!r} in {word}")


def _store(verb: Verb, option: Option, values: dict[str, Any], text: str, name: str) -> None:
    if option.kind == FLAG:
        if text.lower() not in TRUE + FALSE:
            raise _usage(verb, f"invalid value {text!r} for {name}: true or false")
        values[option.key] = text.lower() in TRUE
    elif option.kind == INTEGER:
        try:
            values[option.key] = int(text)
        except ValueError:
            raise _usage(verb, f"invalid value {text!r} for {name}: not a whole number") from None
    elif option.kind == LIST:
        values[option.key].append(text)
    else:
        values[option.key] = text


def click_command(verb: Verb) -> click.Command:
    """The same declaration as a click.Command, for help and completion."""
    import click

    def parameter(option: Option) -> click.Option:
        shown = option.default if option.default not in (None, False, [], "") else None
        text = f"{option.help} (default {shown})" if shown is not None else option.help
        names = [*sorted(option.names, key=len), f"o_{option.key}"]
        if option.kind in (FLAG, OPTIONAL):
            return click.Option(names, is_flag=True, help=text)
        return click.Option(
            names,
            help=text,
            multiple=option.kind == LIST,
            metavar=option.metavar or {INTEGER: "N"}.get(option.kind, "VALUE"),
        )

    return click.Command(
        verb.name,
        help=verb.summary,
        params=[parameter(option) for option in verb.options],
        options_metavar="[options]",
        add_help_option="-h" not in {n for o in verb.options for n in o.names},
    )


def show_help(verb: Verb) -> None:
    """Print the help and leave."""
    import click

    command = click_command(verb)
    with click.Context(command, info_name=f"sampan {verb.name}", max_content_width=100) as context:
        formatter = context.make_formatter()
        formatter.write(f"{verb.summary}\n\nUsage:\n")
        options = "[options] " if verb.options else ""
        formatter.write(f"  sampan {verb.name} {options}{verb.arguments}".rstrip() + "\n")
        command.format_options(context, formatter)
        print(formatter.getvalue().rstrip("\n"))
    raise SystemExit(0)
