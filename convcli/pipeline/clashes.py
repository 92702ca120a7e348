"""Names of outputs that are taken: by another input, by an input itself, or by a file that exists.

All are refused before a pixel is read.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from convcli.errors import OutputError
from convcli.pipeline.names import (
    DENSE_TEMPLATE,
    MANIFEST_NAME,
    MAP_TEMPLATE,
    PICTURE_TEMPLATE,
    SUFFIX_END,
    InputFile,
    is_special,
)
from convcli.pipeline.plan import Plan

#: What may stand in a template for {stem} and tell inputs of one name apart, the simplest first.
_TELLING = ("{stem}", "{parent}/{stem}", "{stem}-{suffix}", "{parent}/{stem}-{suffix}")


def refuse_bad_names(plans: Sequence[Plan], sources: Sequence[InputFile]) -> None:
    """Refuse two owners of one file, and an output that is an input.

    Raises
    ------
    OutputError
        Names the file and who would write it.
    """
    wanted = [(path, f"{plan.source.label}") for plan in plans for path in plan.written_paths]
    if plans and plans[0].request.in_place:
        return
    # Without data: the hint would hash the bytes of standard input, which may be a whole file.
    sources_of = [plan.source._replace(data=b"") for plan in plans]
    refuse_clashes(wanted, hint=lambda: how_to_tell_apart(sources_of, _template(plans[0])))
    for plan in plans:  # within one input, a template without {kernel} or {channel} makes maps share a file
        named = [(output.path, f"map {index}") for index, output in enumerate(plan.outputs) if output.path]
        refuse_clashes(named, hint=partial(keeps_apart, _template(plan)))
    # mkdir would fail only in the middle of the batch.
    for folder in {path.parent for path, _ in wanted}:
        _refuse_file_as_folder(folder)
    inputs = {real_path(source) for source in sources}
    for path, owner in wanted:
        if os.path.realpath(path) in inputs:
            raise OutputError(
                f"{path} is an input and would be replaced (from {owner})",
                hint="choose another output; --in-place is for replacing inputs",
            )
        if _holds_no_file(path):
            raise OutputError(
                f"{path} is a pipe or a device, and would be replaced by a file", hint=f"-o - > {path} writes into it"
            )


def _template(plan: Plan) -> str:
    """Return the template by which the outputs of a plan are named, its maps told apart."""
    name, is_map = plan.request.name, plan.outputs[0].kind == "map"
    if name is None:
        return PICTURE_TEMPLATE if not is_map else MAP_TEMPLATE if plan.maps[0].channel else DENSE_TEMPLATE
    if len({output.path for output in plan.outputs}) == len(plan.outputs):
        return name
    labels = {one.label.casefold() for one in plan.maps}
    return before_end(name, "-{kernel}-{channel}" if len(labels) == len(plan.maps) else "-{index}")


def _holds_no_file(path: Path) -> bool:
    """Return whether a name, or its link target, cannot hold a file: a pipe, a device, the name of a stream."""
    # A finished file is renamed to its name: /dev/stdout would be replaced and never written into.
    is_stream = os.path.abspath(path).startswith(("/dev/fd/", "/dev/std", "/proc/"))  # noqa: PTH100
    return is_special(path) or (is_stream and os.path.lexists(path))


def _refuse_file_as_folder(folder: Path) -> None:
    """Refuse a file where a folder of outputs would be made."""
    there = next((part for part in (folder, *folder.parents) if os.path.lexists(part)), None)
    if there is not None and not os.path.isdir(there):  # noqa: PTH112 - no exception
        raise OutputError(f"{there} is no folder, and outputs would go into it", hint="choose another name")


def existence(plans: Sequence[Plan]) -> Callable[[Path], bool]:
    """Return the question whether an output is there, in its folder or its store."""
    if not plans or not plans[0].request.out_url:
        # lexists, not exists: a broken link is an entry too, and would be replaced.
        return os.path.lexists
    from convcli.pipeline.publish import published

    return published(plans).__contains__


def real_path(source: InputFile) -> str:
    """Return the real path of an input, or its text where it cannot be a path."""
    try:
        return "" if source.path is None else os.path.realpath(source.path)
    except ValueError:  # a NUL in it, from a list
        return str(source.path)


def refuse_clashes(wanted: Iterable[tuple[Path, str]], *, hint: Callable[[], str]) -> None:
    """Refuse two owners of one path; names that differ in case alone are one where the disk says so.

    Parameters
    ----------
    wanted : iterable of (path, owner)
        The owner is the input or map that would write there.
    hint : callable
        Returns the advice.

    Raises
    ------
    OutputError
        Names the path and both owners.
    """
    from convcli.images.rename import folds_case

    owners: dict[str, tuple[Path, str]] = {}
    for path, owner in wanted:
        other_path, other = owners.setdefault(str(path).casefold(), (path, owner))
        if other != owner and (path == other_path or folds_case(path.parent)):
            raise OutputError(f"{path} would be written by {other} and by {owner}", hint=hint())


def keeps_apart(template: str) -> str:
    """Return the hint of a template, quoted so that it can be pasted."""
    import shlex

    return f"--name {shlex.quote(template)} keeps them apart"


def how_to_tell_apart(sources: Sequence[InputFile], template: str = PICTURE_TEMPLATE) -> str:
    """Return a hint: a template like the given one whose fields differ for all inputs, if there is one.

    Examples
    --------
    >>> how_to_tell_apart([InputFile(Path("a/p.jpg")), InputFile(Path("b/p.jpg"))], "{stem}.{ext}")
    "--name '{parent}/{stem}.{ext}' keeps them apart; or another --out-dir"
    """
    files = {one._replace(frame=None) for one in sources}
    if len(files) == 1:
        return keeps_apart(before_end(template, "_{frame}"))
    values = [{"dir": str(one.below), "parent": one.parent, "stem": one.stem, "suffix": one.suffix} for one in files]
    # The tree of a search is kept, also by a template that has lost it.
    tree = "{dir}/" if any(value["dir"] != "." for value in values) else ""
    base = template.removeprefix("{dir}/")
    for telling in _TELLING:
        wanted = tree + (base.replace("{stem}", telling, 1) if "{stem}" in base else f"{telling}-{base}")
        if len({wanted.format_map(defaultdict(str, value)).casefold() for value in values}) == len(values):
            return f"{keeps_apart(wanted)}; or another --out-dir"
    return "another --out-dir, one folder at a time"


def before_end(template: str, addition: str) -> str:
    """Return a template with an addition before its suffix.

    >>> before_end("{stem}.{ext}", "-{kernel}")
    '{stem}-{kernel}.{ext}'
    """
    end = next((end for end in (".{ext}", SUFFIX_END) if template.endswith(end)), "")
    return f"{template.removesuffix(end)}{addition}{end}"


def existing_outputs(plans: Sequence[Plan]) -> tuple[Path | str, ...]:
    """Return the outputs that exist, except those that a plan may replace; in place, the backups."""
    if plans and plans[0].request.in_place:
        return tuple(backup for plan in plans for backup in _backups(plan) if os.path.lexists(backup))
    is_there = existence(plans)
    return tuple(
        plan.request.url_of(path) or path
        for plan in plans
        for path in plan.written_paths
        if is_there(path) and path not in plan.replaces
    )


def refuse_existing(plans: Sequence[Plan], *, resume: bool) -> None:
    """Refuse :func:`existing_outputs` with an OutputError that has their number as ``n_existing``."""
    existing = existing_outputs(plans)
    if existing and plans[0].request.in_place:
        from convcli.images.targets import backup_exists

        raise backup_exists(Path(existing[0]))
    if existing:
        more = f" and {len(existing) - 1} more outputs exist" if len(existing) > 1 else " exists"
        begun = not resume and os.path.lexists(plans[0].request.out_dir / MANIFEST_NAME)
        more_hint = ", --resume goes on where a batch ended" if begun else ""
        hint = f"--overwrite replaces, --skip-existing leaves them{more_hint}"
        raise OutputError(f"{existing[0]}{more}", hint=hint, n_existing=len(existing))


def _backups(plan: Plan) -> list[Path]:
    """Return the backups that replacing would make, except the name that the very file has already."""
    paths = [(path, plan.request.backup_of(path)) for path in plan.written_paths]
    return [backup for path, backup in paths if backup and not (backup.exists() and backup.samefile(path))]
