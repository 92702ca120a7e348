"""The facts of a job that decide its samples: flags, taps or layers, and versions, as plain data and back."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcli.errors import UsageError
from convcli.pipeline.request import ApplyRequest, parse_request
from convcli.process.system import is_url

if TYPE_CHECKING:
    from convcli.banks.bank import KernelBank
    from convcli.layers.stack import Stack


def request_of(facts: dict[str, Any]) -> ApplyRequest:
    """Return the request of a job: earlier tries are replaced, and a.jpg and a.png get names that differ."""
    return parse_request(facts["flags"])._replace(overwrite=True, whole_names=True)


def without_urls(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return flags with the last part of URLs of kernels and stacks: the job holds taps and layers, read when planned.

    Examples
    --------
    >>> without_urls({"kernels": ("box", "s3://b/k.txt")})
    {'kernels': ('box', 'k.txt')}
    """
    given = {**flags, "kernels": tuple(_last(name) for name in flags.get("kernels", ()))}
    return {**given, "stack": _last(str(given["stack"]))} if given.get("stack") else given


def _last(name: str) -> str:
    return name.rpartition("/")[2] if "://" in name else name


def whole_name(name: str) -> str:
    """Return a name that means the same in every folder."""
    return name if is_url(name) else os.path.abspath(name)  # noqa: PTH100 - links stay


def versions() -> dict[str, str]:
    """Return the versions on which the samples may depend."""
    import numpy

    from convcli.engine import loops
    from convcli.version import __version__

    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    # The engine that "auto" picks is a function of integers and of whether the core is compiled.
    core = "compiled" if loops().startswith("compiled") else "NumPy"
    return {"convcli": __version__, "numpy": ".".join(numpy.__version__.split(".")[:2]), "python": python, "core": core}


def refuse_other_versions(planned: dict[str, str]) -> None:
    """Refuse to run a job that was planned with other versions: its samples could differ.

    Raises
    ------
    UsageError
        With both versions.
    """
    here = versions()
    for name, version in planned.items():
        if here.get(name) != version:
            raise UsageError(
                f"the job was planned with {name} {version}, and here is {here.get(name)}",
                hint="install what job.json names, or plan the job again",
            )


def encode(loaded: KernelBank | Stack) -> dict[str, object]:
    """Return a bank, every bit of its taps, or the text of a stack, as plain data."""
    from convcli.layers.dump import dump_stack
    from convcli.layers.stack import Stack

    if isinstance(loaded, Stack):
        # Files of weights stay where they are: workers must see them under the same name.
        return {"stack": dump_stack(loaded), "folder": os.path.abspath(loaded.folder or "")}  # noqa: PTH100
    values = {field.name: getattr(loaded, field.name) for field in fields(loaded)}
    weight = values.pop("weight")
    return {**values, "shape": weight.shape, "weight": base64.b64encode(weight.tobytes()).decode()}


def decode(data: dict[str, Any]) -> KernelBank | Stack:
    """Return what :func:`encode` wrote."""
    if "stack" in data:
        from convcli.layers.stack import parse_stack

        return parse_stack(data["stack"], n_axes=2, folder=Path(data["folder"]))
    import numpy as np

    from convcli.banks.bank import KernelBank

    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    shape = values.pop("shape")
    values["weight"] = np.frombuffer(base64.b64decode(values.pop("weight")), np.float64).reshape(shape)
    if values["reduction"]:
        values["reduction"] = tuple((name, tuple(indices)) for name, indices in values["reduction"])
    return KernelBank(**values)
