"""Objects of S3, Google Cloud Storage, Azure or a web server, through ``obstore``; nothing else imports it.

Credentials come from the environment of the process, never from a URL: it is written into reports and jobs. A process
that has used a store must not be forked, because the threads of the library do not survive it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from convcli.errors import ConvcliError, ImageError, OutputError, UsageError
from convcli.images.info import STORE_HEADERS, RemoteZarr
from convcli.pipeline.objects import CREDENTIALS, PAGE, Entry, for_inputs_only, is_hidden

try:
    import obstore
    from obstore import exceptions
    from obstore.store import from_url
except ImportError:
    obstore = None

if TYPE_CHECKING:
    from obstore.store import ObjectStore

#: A store that does not answer is given up after this, not after the library's three minutes.
_RETRIES = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}


class Store:
    """Objects below a URL.

    Parameters
    ----------
    url : str
        ``s3://bucket/prefix`` and the like.

    Raises
    ------
    UsageError
        The extra is not installed, or the scheme is unknown.

    Examples
    --------
    >>> store = Store("memory:///photos")  # doctest: +SKIP
    >>> store.create("a.txt", b"first"), store.create("a.txt", b"second")  # doctest: +SKIP
    (True, False)
    """

    def __init__(self, url: str) -> None:
        if obstore is None:
            raise UsageError(
                f"{url} is a URL, which needs the package obstore", hint="pip install 'convcli[cloud]', or a local file"
            )
        self.text = url.rstrip("/")
        scheme, _, rest = self.text.partition("://")
        host, _, path = rest.partition("/")
        if scheme == "hf":
            raise UsageError(f"{url}: the hub has no windows of Zarr stores", hint="hf download it to a folder")
        # Names of objects hold characters that mean something in a URL.
        self._store: ObjectStore = self._opened(f"{scheme}://{host}/{quote(path)}")

    def _opened(self, url: str) -> ObjectStore:
        scheme, options = url.partition(":")[0], dict[str, Any](retry_config=_RETRIES)
        if scheme in ("file", "memory"):
            options = {"mkdir": True} if scheme == "file" else {}
        elif scheme == "http":
            options["client_options"] = {"allow_http": True}
        try:
            return from_url(url, **options)
        except (exceptions.BaseError, ValueError, TypeError) as error:
            raise UsageError(
                f"{self.text}: {_first_line(error)}", hint=f"s3://, gs://, az://, https://; {CREDENTIALS}"
            ) from None

    def pages(self, below: str = "") -> Iterator[list[Entry]]:
        """Yield the objects under a name, a page at a time as the store sends them, hidden ones left out."""
        try:
            for page in obstore.list(self._store, prefix=below or None, chunk_size=PAGE):
                entries = [Entry(one["path"], one["size"], one["e_tag"] or "") for one in page]
                yield [entry for entry in entries if not is_hidden(entry.name)]
        except FileNotFoundError:
            return
        except (exceptions.BaseError, OSError) as error:
            raise self._explained(error, "", ImageError) from None

    def get(self, name: str) -> tuple[bytes, str]:
        """Return the bytes and the ETag of an object."""
        try:
            return self._get(name)
        except (exceptions.BaseError, OSError) as error:
            raise self._explained(error, name, ImageError) from None

    def _get(self, name: str) -> tuple[bytes, str]:
        answer = obstore.get(self._store, name)
        return bytes(answer.bytes()), answer.meta["e_tag"] or ""

    def clear(self, keep: Collection[str] = ()) -> None:
        """Delete the objects here that are not in ``keep``, the header of a Zarr store first: the rest is none then."""
        try:
            for name in {*STORE_HEADERS}.difference(keep):
                with contextlib.suppress(FileNotFoundError):
                    obstore.delete(self._store, name)
            for page in obstore.list(self._store, chunk_size=PAGE):
                obstore.delete(self._store, [one["path"] for one in page if one["path"] not in keep])
        except (exceptions.BaseError, OSError) as error:
            raise self._explained(error, "", OutputError) from None

    def zarr(self) -> tuple[RemoteZarr, str]:
        """Return the Zarr store here, and the ETag of its header.

        Raises
        ------
        ImageError
            There is none.
        """
        for name in STORE_HEADERS:
            try:
                data, etag = self._get(name)
            except FileNotFoundError:
                continue
            except (exceptions.BaseError, OSError) as error:
                raise self._explained(error, name, ImageError) from None
            return RemoteZarr(self.text, data, self._store), etag
        missing = ImageError("there is no Zarr store", hint="check the bucket and the name; a store has a zarr.json")
        raise missing.within(self.text)

    def exists(self, name: str) -> bool:
        """Return whether there is an object of this name."""
        try:
            obstore.head(self._store, name)
        except FileNotFoundError:
            return False
        except (exceptions.BaseError, OSError) as error:
            raise self._explained(error, name, OutputError) from None
        return True

    def put(self, name: str, data: bytes) -> None:
        """Store an object in one request, in place of another."""
        self._put(name, data, "overwrite")

    def create(self, name: str, data: bytes) -> bool:
        """Store an object in one request unless there is one of this name; return whether it was stored."""
        return self._put(name, data, "create")

    def _put(self, name: str, data: bytes, mode: Any) -> bool:
        try:
            obstore.put(self._store, name, data, mode=mode, use_multipart=False)
        except exceptions.AlreadyExistsError:
            return False
        except exceptions.NotSupportedError:
            raise for_inputs_only(self.text) from None
        except (exceptions.BaseError, OSError) as error:
            raise self._explained(error, name, OutputError) from None
        return True

    def _explained(self, error: Exception, name: str, kind: type[ConvcliError]) -> ConvcliError:
        where = f"{self.text}/{name}" if name else self.text
        if isinstance(error, FileNotFoundError):
            is_pattern = "*" in name
            hint = "URLs are no patterns: name the place above" if is_pattern else "check the bucket and the name"
            return kind("there is no such object", hint=hint).within(where)
        if "404 Not Found" in str(error):  # of a listing; the library has no error of its own for a bucket
            hint = "check its name, and the region and endpoint asked"
            return kind("there is no such bucket", hint=hint).within(where)
        is_web = self.text.startswith("http")
        return kind(_first_line(error), hint="check the address" if is_web else CREDENTIALS).within(where)


def _first_line(error: Exception) -> str:
    """Return the fact of an error; below it the library prints its own state."""
    return str(error).strip().partition("\n")[0].removesuffix(":")[:300]
