"""Help in sections: the flags of a command under the headings of its rows."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand


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
