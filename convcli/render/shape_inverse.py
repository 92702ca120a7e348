"""Answers to ``?`` as plain data and as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convcli.layers.inverse import value_text
from convcli.render.shape import shape_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from convcli.layers.inverse import Solutions


def solutions_as_dict(found: Solutions, input_shape: Sequence[int]) -> dict[str, object]:
    """Return answers as plain data; one number per axis for each parameter."""
    return {
        "input": list(input_shape),
        "layer": found.text,
        "target": list(found.target),
        "searched": {name: list(ends) for name, ends in found.searched.items()},
        "n_answers": found.n_answers,
        "answers": [{"text": found.filled(answer)} | _plain(answer) for answer in found.answers],
        "nearest": [
            {"text": found.filled(miss), "output": list(output)} | _plain(miss) for miss, output in found.nearest
        ],
    }


def _plain(answer: Mapping[str, Sequence[object]]) -> dict[str, object]:
    """Return an answer with lists for tuples."""
    return {name: list(values) for name, values in answer.items()}


def render_solutions(found: Solutions, input_shape: Sequence[int], how: str) -> str:
    """Return answers as JSON or as text, smallest first, with the ranges that were searched."""
    if how == "json":
        from convcli.pipeline.report import to_json

        return to_json(solutions_as_dict(found, input_shape))
    lines = [f"input {shape_text(input_shape)}, target {shape_text(found.target)}: {found.text}"]
    for answer in found.answers:
        numbers = ", ".join(f"{name.replace('_', ' ')} {value_text(values)}" for name, values in answer.items())
        lines.append(f"  {found.filled(answer)}  ({numbers})")
    # Several open parameters can have thousands of answers, of which only the smallest are listed.
    more = found.n_answers - len(found.answers)
    if more > 0:
        lines.append(f"  and {more:,} more")
    if not any(len(set(values)) == 1 for answer in found.answers for values in answer.values()):
        lines.append("no single number fits all axes; those above are one number per axis")
    if any(isinstance(value, tuple) for answer in found.answers for values in answer.values() for value in values):
        lines.append("no padding with equal sides fits; those above are before,after each axis")
    s = "" if found.n_answers == 1 else "s"
    lines.append(f"{found.n_answers:,} answer{s}, searched {searched_text(found)}")
    return "\n".join(lines)


def searched_text(found: Solutions) -> str:
    """Return the ranges that were searched as text."""
    return ", ".join(f"{name.replace('_', ' ')} {low} to {high}" for name, (low, high) in found.searched.items())


def nearest_text(found: Solutions) -> str:
    """Return the nearest misses as text."""
    return "; ".join(f"{found.filled(miss)} gives {shape_text(output)}" for miss, output in found.nearest)
