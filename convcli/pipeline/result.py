"""The result of :func:`convcli.apply`: a report an input, readable as the dict that ``--report FILE.json`` writes."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Sequence, ValuesView
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from convcli.errors import UsageError
from convcli.process.system import is_url

if TYPE_CHECKING:
    from convcli.pipeline.plan import Plan


class Report(dict[str, Any]):
    """The report of one input: a dict, with its most wanted parts as attributes.

    Attributes
    ----------
    plan : Plan or None
        Of the input, from which a notebook draws it; it is no part of the dict.

    Examples
    --------
    >>> report = Report({"input": {"path": "cat.png"}, "outputs": [{"path": "edges.png"}], "maps": []})
    >>> report["input"]["path"], report.paths
    ('cat.png', (PosixPath('edges.png'),))
    """

    plan: Plan | None = None

    @property
    def input(self) -> str:
        """Name of the input."""
        return str(self["input"]["path"])

    @property
    def paths(self) -> tuple[Path, ...]:
        """Files that were written, without the report beside them; objects of a store are under ``outputs``."""
        paths = (one["path"] for one in self["outputs"])
        return tuple(Path(path) for path in paths if path != "-" and not is_url(path))

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the maps: channels, (frames,) rows, columns."""
        return tuple(self["shape"]["output"])

    @property
    def maps(self) -> list[dict[str, Any]]:
        """Name, values, tone and clipped samples of each map."""
        found: list[dict[str, Any]] = self["maps"]
        return found

    @property
    def notes(self) -> list[str]:
        """Conversions and choices that are worth knowing."""
        return [*self["notes"]]

    @property
    def warnings(self) -> list[str]:
        """Losses, each with the flag that avoids it."""
        return [*self["warnings"]]

    def __repr__(self) -> str:
        """Return the shapes in one line; the dict itself is long."""
        sizes = " -> ".join("x".join(map(str, self["shape"][end])) for end in ("input", "output"))
        return f"<Report of {self.input!r}: {sizes}, {len(self['outputs'])} files>"

    def _repr_html_(self) -> str:
        """Return the report with its pictures, for a notebook."""
        from convcli.render.pages.notebook import draw_reports

        return draw_reports([self])


class Result(Sequence[Report]):
    """The reports of all inputs, in the order in which they ended.

    The result of one input can be used as its report: ``result["shape"]``, ``result.keys()``, ``dict(result)``.

    Parameters
    ----------
    reports : sequence of Report

    Examples
    --------
    >>> result = Result([Report({"input": {"path": "cat.png"}, "shape": {"output": [2, 8, 8]}})])
    >>> result["shape"]["output"], result[0]["shape"]["output"], len(result)
    ([2, 8, 8], [2, 8, 8], 1)
    """

    def __init__(self, reports: Sequence[Report]) -> None:
        self._reports = tuple(reports)

    @property
    def only(self) -> Report:
        """The report of the only input.

        Raises
        ------
        UsageError
            There are several inputs, or none.
        """
        if len(self._reports) != 1:
            raise UsageError(f"the result has {len(self._reports)} reports", hint="result[0], or for report in result")
        return self._reports[0]

    @overload
    def __getitem__(self, key: str) -> Any: ...
    @overload
    def __getitem__(self, key: int) -> Report: ...
    @overload
    def __getitem__(self, key: slice) -> Result: ...
    def __getitem__(self, key: str | int | slice) -> Any:
        """Return a report by its place, or a part of the only report by its key."""
        if isinstance(key, str):
            return self.only[key]
        return Result(self._reports[key]) if isinstance(key, slice) else self._reports[key]

    def __len__(self) -> int:
        """Return the number of inputs."""
        return len(self._reports)

    def __iter__(self) -> Iterator[Report]:
        """Return the reports, one an input."""
        return iter(self._reports)

    def __contains__(self, item: object) -> bool:
        """Return whether the only report has a key, or a report is one of these."""
        return item in self.only if isinstance(item, str) else item in self._reports

    def __eq__(self, other: object) -> bool:
        """Compare with another result, or with a list of dicts."""
        return [*self] == [*other] if isinstance(other, Result | list | tuple) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def keys(self) -> KeysView[str]:
        """Return the keys of the only report, as a mapping has them."""
        return self.only.keys()

    def values(self) -> ValuesView[Any]:
        """Return the values of the only report."""
        return self.only.values()

    def items(self) -> ItemsView[str, Any]:
        """Return the items of the only report."""
        return self.only.items()

    def get(self, key: str, default: Any = None) -> Any:
        """Return a part of the only report, or a default."""
        return self.only.get(key, default)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Files that were written, of all inputs."""
        return tuple(path for report in self._reports for path in report.paths)

    def __repr__(self) -> str:
        """Return the reports, a line each."""
        return f"Result([{', '.join(map(repr, self._reports))}])"

    def _repr_html_(self) -> str:
        """Return the reports with their pictures, for a notebook."""
        from convcli.render.pages.notebook import draw_reports

        return draw_reports(self._reports)
