"""Places by their text: a local folder, or a store, which only then is imported."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from convcli.errors import UsageError
from convcli.images.info import STORE_HEADERS
from convcli.pipeline.objects import CREDENTIALS, Folder, Objects
from convcli.process.system import is_url, local_path

if TYPE_CHECKING:
    from convcli.images.info import RemoteZarr
    from convcli.pipeline.storage import Store


def open_objects(text: str) -> Objects:
    """Return the place that a path or a URL names.

    Raises
    ------
    UsageError
        It is a URL, and its scheme or the extra for it is not there.
    """
    check_url(text)
    if text.startswith("hf://"):
        return _hub(text.rstrip("/"))
    return open_store(text.rstrip("/")) if is_url(text) else Folder(local_path(text))


def check_url(url: str) -> None:
    """Refuse a URL that holds a password, or a question to a web server, which often holds a key.

    Reports, jobs and messages would have them.

    Raises
    ------
    UsageError
        It does; the message leaves them out.
    """
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise UsageError("a URL with a name or password in it would be written into reports", hint=CREDENTIALS)
    if url.lower().startswith(("http://", "https://")) and "?" in url:
        raise UsageError(f"{url.partition('?')[0]}?…: addresses with a ? are not read", hint="curl -s URL > FILE")


@cache
def _hub(url: str) -> Objects:
    from convcli.pipeline.hub import Hub

    return Hub(url)


@cache
def open_store(url: str) -> Store:
    """Return a store, opened once in a process: it keeps its connections."""
    from convcli.pipeline.storage import Store

    check_url(url)
    return Store(url)


def open_zarr_url(url: str) -> tuple[RemoteZarr, str]:
    """Return the Zarr store that a URL names, by itself or by its header, and the ETag of the header.

    Raises
    ------
    ImageError
        There is none.
    """
    place, _, name = url.rstrip("/").rpartition("/")
    return open_store(place if name in STORE_HEADERS else url.rstrip("/")).zarr()


def join(place: str, name: str) -> str:
    """Return the path or URL of a name below a place.

    Examples
    --------
    >>> join("s3://b/photos", "2020/a.jpg"), join("photos", "a.jpg")
    ('s3://b/photos/2020/a.jpg', 'photos/a.jpg')
    """
    return f"{place.rstrip('/')}/{name}" if is_url(place) else os.path.join(place, name)  # noqa: PTH118 - stays a text


def split_url(url: str) -> tuple[str, str]:
    """Return the place and the name of an object.

    Raises
    ------
    UsageError
        There is no name.

    Examples
    --------
    >>> split_url("s3://b/photos/a.jpg")
    ('s3://b/photos', 'a.jpg')
    """
    check_url(url)
    place, _, name = url.rpartition("/")
    if not name or not is_url(place) or place.endswith("//"):
        raise UsageError(f"{url} names no object", hint="s3://bucket/name")
    return place, name
