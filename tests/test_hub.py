"""Files of the hub as inputs, from a small server that speaks as much of its protocol as is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from conftest import REPOSITORY, load_image, run_cli, save_image

from convcli.errors import ConvcliError, OutputError
from convcli.pipeline import hub


def serve(files: dict[str, bytes]) -> ThreadingHTTPServer:
    """Serve files of the dataset ``owner/name``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            _, _, place = path.partition("/tree/main")
            if path.startswith("/datasets/owner/name/resolve/main/"):
                self.answer(files.get(path.removeprefix("/datasets/owner/name/resolve/main/")))
            elif path.startswith("/api/datasets/owner/name/tree/main"):
                self.answer(self.listing(place.strip("/")))
            elif path.startswith("/api/datasets/owner/name"):
                self.answer(json.dumps({"id": "owner/name", "sha": "0" * 40, "siblings": []}).encode())
            else:
                self.answer(None, "RepoNotFound")

        def listing(self, place: str) -> bytes | None:
            below = [name for name in files if name.startswith(f"{place}/" if place else "")]
            inside = {name[len(place) :].lstrip("/").partition("/")[0] for name in below}
            rows = []
            for name in sorted(inside):
                whole = f"{place}/{name}".lstrip("/")
                data = files.get(whole)
                kind = {"type": "directory", "size": 0} if data is None else {"type": "file", "size": len(data)}
                rows.append({**kind, "oid": f"digest-of-{name}", "path": whole})
            return json.dumps(rows).encode() if rows else None

        def answer(self, data: bytes | None, code: str = "EntryNotFound") -> None:
            self.send_response(404 if data is None else 200)
            if data is None:
                self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def endpoint(rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    files = {"notes.txt": b"no picture"}
    for name in ("a.png", "sub/é b.png"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_image(path, rng.integers(0, 256, (9, 12, 3), np.uint8))
        files[name] = path.read_bytes()
    files |= {".hidden.png": files["a.png"], ".cache/a.png": files["a.png"]}
    server = serve(files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.subprocess
def test_pictures_of_a_dataset_are_inputs(endpoint: str, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub", reason="the extra hf is not installed")
    words = ["-k", "sobel", "--layout", "picture", "--out-dir"]
    command = [sys.executable, "-m", "convcli", "apply", "hf://datasets/owner/name", *words, str(tmp_path / "out")]
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": ""}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert result.returncode == 0, result.stderr
    assert "2 of 2 done" in result.stdout
    run_cli("apply", tmp_path / "in", "-r", *words, tmp_path / "local").ok()
    for path in (tmp_path / "local").rglob("*.png"):
        made = tmp_path / "out" / path.relative_to(tmp_path / "local")
        np.testing.assert_array_equal(load_image(made), load_image(path))


def test_files_are_listed_and_read(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = pytest.importorskip("huggingface_hub", reason="the extra hf is not installed")
    monkeypatch.setattr(hub, "HfFileSystem", lambda: library.HfFileSystem(endpoint=endpoint, token=False))
    place = hub.Hub("hf://datasets/owner/name")
    [page] = place.pages()
    assert [entry.name for entry in page] == ["a.png", "notes.txt", "sub/é b.png"]
    assert page[0].size == (tmp_path / "in" / "a.png").stat().st_size
    assert place.get("sub/é b.png") == ((tmp_path / "in" / "sub" / "é b.png").read_bytes(), page[2].etag)
    assert [[entry.name for entry in page] for page in place.pages("sub")] == [["sub/é b.png"]]
    assert (place.exists("a.png"), place.exists("none.png")) == (True, False)
    with pytest.raises(ConvcliError, match="no such file"):
        place.get("none.png")
    with pytest.raises(ConvcliError, match="no such file"):
        list(hub.Hub("hf://datasets/owner/other").pages())
    with pytest.raises(OutputError, match="for inputs only"):
        place.put("a.png", b"")


def test_what_the_hub_cannot_do_is_said(photo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result = run_cli("apply", photo, "-k", "box", "-o", "hf://datasets/owner/name/x.png")
    assert (result.exit_code, "the hub is for inputs only" in result.stderr) == (2, True)
    monkeypatch.setattr(hub, "HfFileSystem", None)
    words = ["-k", "box", "--out-dir", tmp_path / "o"]
    result = run_cli("apply", "hf://datasets/owner/another/x.png", *words)
    assert (result.exit_code, "convcli[hf]" in result.stderr) == (2, True)
    pytest.importorskip("obstore", reason="the extra cloud is not installed")
    result = run_cli("apply", "hf://datasets/owner/name/x.zarr", *words)
    assert (result.exit_code, "download" in result.stderr) == (2, True)
