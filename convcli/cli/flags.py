"""Flags as Typer takes them: rows of :data:`convcli.pipeline.request.OPTIONS`, and help in the rows' sections."""

from __future__ import annotations

from collections.abc import Callable, Container
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from convcli.pipeline.flags import Option
from convcli.pipeline.request import OPTIONS

Json = Annotated[bool, typer.Option("--json", help="Machine-readable.")]


def with_options(keys: Container[str] | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator of ``command(..., **flags)``: in place of ``flags`` it has the rows of these keys, or all.

    Help lists the positional parameters of the command before the rows, those by keyword after them.
    """
    rows = [_parameter(row) for row in OPTIONS if keys is None or row.key in keys]

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(**values: object) -> None:
            command(**values)

        # The last parameter is **flags, in whose place the rows are put.
        own = list(signature(command, eval_str=True).parameters.values())[:-1]
        first = [each for each in own if each.kind is not Parameter.KEYWORD_ONLY]
        parameters = [*first, *rows, *own[len(first) :]]
        run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorated


def _parameter(row: Option) -> Parameter:
    """Return the parameter from which Typer makes the option of a row."""
    option = typer.Option(
        *filter(None, (row.short, row.flag)),
        help=row.meaning,
        metavar=row.metavar or None,
        rich_help_panel=row.section,
        show_default=False,
    )
    kind: Any = {str: str | None, int: int | None, bool: bool, list: list[str] | None}[row.kind]
    default = False if row.kind is bool else None
    return Parameter(row.key, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])


def option(*names: str, help: str, metavar: str) -> Any:
    """Return a Typer option without a default to show: the help text says it."""
    return typer.Option(*names, help=help, metavar=metavar, show_default=False)


class SectionedCommand(TyperCommand):
    """A command whose help has a section for each ``rich_help_panel`` of its parameters, without Rich."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then the sections in the order of their first flags, then the rest."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": []}
        rest: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            panel = getattr(parameter, "rich_help_panel", None)
            # Arguments come first whatever panel Typer puts them in.
            place = "Arguments" if parameter.param_type_name == "argument" else panel
            (sections.setdefault(place, []) if place else rest).append(record)
        for name, records in [*sections.items(), ("Other", rest)]:
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)
