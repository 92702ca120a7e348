"""Local copies of objects, and folders for outputs that wait for their way into a store.

Readers and writers of images know files. An input of a store is copied when it is first read; outputs for a store are
written into a folder of this process and put from there, each in one request.
"""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from convcli.errors import COPIES, ImageError, KernelError, UsageError
from convcli.pipeline.places import open_objects, split_url
from convcli.process import ending
from convcli.process.system import is_url

#: Bytes of copies that are kept; the newest are, whatever they hold, because they are being read.
_KEPT_BYTES, KEPT = 1 << 30, 64
#: A URL in the text of a kernel, up to its entry, its parameters or an operator; or whatever quotes hold.
_SCHEME = r"[A-Za-z][\w+-]*://"
_URL = re.compile(rf"(?<=')({_SCHEME}[^'#]+)(?=['#])|{_SCHEME}[^\s#'\"]+?(?=$|[\s#]|:\w+=)")
_lock = threading.Lock()
_folder: Path | None = None
_n_made = 0
#: By URL, the oldest first: the copy, its bytes, and the ETag that it had.
_copies: dict[str, tuple[Path, int, str]] = {}


def new_folder() -> Path:
    """Return a new folder below the one of this process, which goes when the process ends."""
    global _folder, _n_made
    with _lock:
        if _folder is None:
            # The prefix has no character that means something in the text of a kernel.
            _folder = Path(tempfile.mkdtemp(prefix="convcli_"))
            atexit.register(remove_all)
            ending.at_end(remove_all)
            # Without the lock, which the thread that a signal interrupts may hold.
            ending.at_end(partial(shutil.rmtree, _folder, ignore_errors=True))
        _n_made += 1
        made = _folder / str(_n_made)
    made.mkdir()
    return made


def remove_all() -> None:
    """Remove every copy; a process that ends without Python's exit functions calls it."""
    global _folder
    with _lock:
        if _folder is not None:
            shutil.rmtree(_folder, ignore_errors=True)
        _folder = None
        _copies.clear()
        COPIES.clear()


def local_copy(url: str) -> tuple[Path, str]:
    """Return a local copy of an object, made now unless there is one, and the ETag that the object had.

    Raises
    ------
    ImageError
        The object cannot be read.
    """
    with _lock:
        found = _copies.pop(url, None)
        if found is not None:  # to the end: it is the newest again
            _copies[url] = found
    path, _, etag = found or _copied(url)
    return path, etag


def _copied(url: str) -> tuple[Path, int, str]:
    from convcli.banks.bank import safe_name

    place, name = split_url(url)
    data, current = open_objects(place).get(name)
    stem, dot, suffix = name.rpartition(".")
    path = new_folder() / f"{safe_name(stem)}{dot}{suffix}" if dot else new_folder() / safe_name(name)
    path.write_bytes(data)
    with _lock:
        _copies[url], COPIES[str(path)] = (path, len(data), current), url
        n_bytes = sum(size for _, size, _ in _copies.values())
        for other in list(_copies):
            if n_bytes <= _KEPT_BYTES or len(_copies) <= KEPT:
                break
            old, size, _ = _copies.pop(other)
            COPIES.pop(str(old), None)
            shutil.rmtree(old.parent, ignore_errors=True)
            n_bytes -= size
    return path, len(data), current


def with_local_names(flags: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return flags of ``apply`` with local names in place of URLs, and the fields that say where outputs go.

    Raises
    ------
    UsageError
        A scheme is unknown, or for inputs only.
    KernelError
        A kernel's file cannot be read.
    """
    values, stage = dict(flags), dict[str, Any]()
    for key in ("out_dir", "output"):
        url = str(values.get(key, ""))
        if is_url(url):
            place, name = (url.rstrip("/"), "") if key == "out_dir" else split_url(url)
            if place.startswith(("http://", "https://", "hf://")):
                what = "the hub is" if place.startswith("hf://") else "web servers are"
                raise UsageError(f"{url}: {what} for inputs only", hint="s3://, gs://, az://, or a local folder")
            open_objects(place)
            folder = new_folder()
            values[key], stage = str(folder / name), {"out_url": place, "stage": folder}
    if is_url(str(values.get("stack", ""))):
        values["stack"] = str(local_copy(str(values["stack"]))[0])
    kernels = values.get("kernels", ())
    values["kernels"] = tuple(
        _URL.sub(_copy_of_kernel, text) for text in ((kernels,) if isinstance(kernels, str) else kernels)
    )
    return values, stage


def _copy_of_kernel(match: re.Match[str]) -> str:
    try:
        return str(local_copy(match[0])[0])
    except ImageError as error:
        raise KernelError(error.message, hint=error.hint).within(match[0]) from None
