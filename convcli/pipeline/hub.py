"""Files of datasets, models and spaces on the Hugging Face hub as objects to read; nothing else imports its library.

The library takes address and token from the environment of the process: HF_ENDPOINT, HF_TOKEN.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from convcli.errors import ImageError, UsageError
from convcli.pipeline.objects import Entry, for_inputs_only, in_pages, is_hidden

try:
    from huggingface_hub import HfFileSystem
except ImportError:
    HfFileSystem = None

#: The library keeps listings, which threads must not fill at once.
_lock = threading.Lock()


class Hub:
    """Files below a URL.

    Parameters
    ----------
    url : str
        ``hf://datasets/owner/name/path``, ``hf://spaces/owner/name/path``, or ``hf://owner/name/path`` for a model.

    Raises
    ------
    UsageError
        The extra is not installed.
    """

    def __init__(self, url: str) -> None:
        if HfFileSystem is None:
            raise UsageError(
                f"{url} needs the package huggingface_hub", hint="pip install 'convcli[hf]', or hf download to a folder"
            )
        self.text = url.rstrip("/")
        self._files = HfFileSystem()

    def pages(self, below: str = "") -> Iterator[list[Entry]]:
        """Yield the files under a name, folder by folder as the hub lists them, hidden ones left out."""
        return in_pages(self._entries(below))

    def _entries(self, below: str) -> Iterator[Entry]:
        top = ""
        with self._explained(below):
            for folder, _, files in self._files.walk(self._path(below), detail=True):
                top = top or folder
                inside = "/".join(part for part in (below, folder[len(top) :].strip("/")) if part)
                for name, facts in files.items():
                    whole = f"{inside}/{name}".lstrip("/")
                    if not is_hidden(whole):
                        yield Entry(whole, facts["size"], facts.get("blob_id") or "")

    def get(self, name: str) -> tuple[bytes, str]:
        """Return the bytes of a file, and the digest by which its repository knows it."""
        with self._explained(name):
            with _lock:
                facts = self._files.info(self._path(name))
            return self._files.cat_file(self._path(name)), facts.get("blob_id") or ""

    def exists(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        with _lock:
            return bool(self._files.exists(self._path(name)))

    def put(self, name: str, data: bytes) -> None:
        """Refuse to store anything."""
        self.create(name, data)

    def create(self, name: str, data: bytes) -> bool:
        """Refuse to store anything."""
        del name, data
        raise for_inputs_only(self.text)

    def _path(self, name: str) -> str:
        return f"{self.text}/{name}".removeprefix("hf://").rstrip("/")

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        """Turn errors of the library into an ImageError."""
        where = f"{self.text}/{name}".rstrip("/")
        try:
            yield
        except FileNotFoundError:
            hint = "check owner, name and path; HF_TOKEN reads what is private"
            raise ImageError("there is no such file", hint=hint).within(where) from None
        except Exception as error:  # each part of the library has errors of its own
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise ImageError(f"cannot be read ({reason[:300]})", hint="check the name and the network").within(
                where
            ) from error
