"""Objects of stores as inputs, outputs, kernels and jobs: the same results as with local files."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, load_image, objects, run_cli, save_image

pytest.importorskip("obstore", reason="the extra cloud is not installed")

import convcli
from convcli.errors import ConvcliError, OutputError, UsageError
from convcli.pipeline import storage
from convcli.pipeline.storage import Store


def put_photos(place: str, rng: np.random.Generator, folder: Path) -> None:
    """Write photos into a folder, and the same into a store."""
    store = Store(place)
    for name in ("a.png", "b #?%41.png", "sub/a.png", "sub/é.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_image(path, rng.integers(0, 256, (9, 12, 3), np.uint8))
        store.put(name, path.read_bytes())
    store.put("notes.txt", b"no picture")
    store.put(".cache/a.png", b"hidden, as in a folder")


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}


def test_a_batch_from_store_to_store_is_the_local_one(bucket: str, rng: np.random.Generator, tmp_path: Path) -> None:
    put_photos(f"{bucket}/in", rng, tmp_path / "in")
    run_cli("apply", tmp_path / "in", "-r", "-k", "sobel", "--out-dir", tmp_path / "out").ok()
    result = run_cli("apply", f"{bucket}/in", "-k", "sobel", "--out-dir", f"{bucket}/out", "--json").ok()
    assert objects(f"{bucket}/out", ".png") == pictures(tmp_path / "out")
    shown = {entry["path"] for report in result.json_lines[:-1] for entry in report["outputs"]}
    assert shown == {f"{bucket}/out/{name}" for name in objects(f"{bucket}/out", ".png")}
    # The reports beside the maps name the store too, and no folder of this machine.
    report = json.loads(objects(f"{bucket}/out", "sub/a_sobel/report.json")["sub/a_sobel/report.json"])
    assert report["input"]["path"] == f"{bucket}/in/sub/a.png"
    assert report["maps"][0]["path"] == f"{bucket}/out/sub/a_sobel/x-r.png"
    assert tempfile.gettempdir() not in json.dumps(report)


def test_one_picture_a_kernel_and_a_report_in_a_store(bucket: str, photo: Path, tmp_path: Path) -> None:
    store = Store(bucket)
    store.put("photo.png", photo.read_bytes())
    store.put("k é/my+kernel-1.txt", b"0 1 0; 0 0 0; 0 0 0")
    store.put("bank.npz", _npz(taps=np.eye(3)))
    flags = ["--padding-mode", "zeros", "--tone", "clip"]
    words = ["apply", f"{bucket}/photo.png", "-k", f"'{bucket}/k é/my+kernel-1.txt' scale=0.5", *flags]
    run_cli(*words, "-o", f"{bucket}/o.png", "--report", f"{bucket}/r.json").ok()
    (tmp_path / "o.png").write_bytes(store.get("o.png")[0])
    half = load_image(photo)[:-1].astype(float) / 2
    np.testing.assert_allclose(load_image(tmp_path / "o.png")[1:], half, atol=0.5)
    assert json.loads(store.get("r.json")[0])
    run_cli("apply", f"{bucket}/photo.png", "-k", f"{bucket}/bank.npz#taps:scale=2", "-o", tmp_path / "k.npy").ok()
    assert "exists" in run_cli(*words, "-o", f"{bucket}/o.png").stderr
    assert run_cli(*words, "-o", f"{bucket}/o.png", "--overwrite").exit_code == 0


def _npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def test_failures_name_the_object_and_not_its_copy(bucket: str, photo: Path, tmp_path: Path) -> None:
    store = Store(bucket)
    for name in ("in/bad.png", "bad.toml", "stack.toml"):
        store.put(name, b"taps = [[1, 2], [3]]")
    assert "no patterns" in run_cli("apply", f"{bucket}/in/*.png", "-k", "box", "--out-dir", tmp_path / "out").stderr
    store.put("in/good.png", photo.read_bytes())
    out = ["--out-dir", tmp_path / "out"]
    for name, flags in (("x", []), ("x.png", ["--format", "jpeg"]), ("x.png", ["--layout", "maps"])):
        assert (
            f"error: -o {bucket}/{name} "
            in run_cli("apply", photo, "-k", "box", "-o", f"{bucket}/{name}", *flags).stderr
        )
    failures = [
        (7, "in/bad.png", run_cli("apply", f"{bucket}/in", "-k", "box", *out)),
        (3, "in/bad.png", run_cli("apply", f"{bucket}/in/bad.png", "-k", "box", *out)),
        (4, "bad.toml", run_cli("apply", photo, "-k", f"{bucket}/bad.toml", *out)),
        (2, "stack.toml", run_cli("apply", photo, "--stack", f"{bucket}/stack.toml", *out)),
    ]
    for code, name, result in failures:
        assert result.exit_code == code, result.stderr
        assert f"error: {bucket}/{name}: " in result.stderr
        assert tempfile.gettempdir() not in result.stderr


def test_what_is_there_stays(bucket: str, rng: np.random.Generator, tmp_path: Path) -> None:
    put_photos(f"{bucket}/in", rng, tmp_path / "in")
    words = ["apply", f"{bucket}/in", "-k", "box", "--layout", "picture", "--out-dir", f"{bucket}/in/out"]
    store = Store(f"{bucket}/in/out")
    store.put("a_box.png", b"old")
    refused = run_cli(*words)
    assert refused.exit_code == 6
    assert f"{bucket}/in/out/a_box.png exists" in refused.stderr
    assert "3 of 4 done, 1 left alone" in run_cli(*words, "--skip-existing").ok().stdout
    assert store.get("a_box.png")[0] == b"old"
    run_cli(*words, "--overwrite").ok()  # outputs below the searched place are no inputs
    assert store.get("a_box.png")[0] != b"old"
    assert len(objects(f"{bucket}/in/out", ".png")) == 4


def test_the_commit_itself_refuses_to_replace(bucket: str, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(bucket).put("o_box.png", b"written a moment ago")
    from convcli.pipeline import publish

    monkeypatch.setattr(publish, "published", lambda _plans: set())  # it was not there when the batch was planned
    result = run_cli("apply", photo, "-k", "box", "-o", f"{bucket}/o_box.png")
    assert result.exit_code == 6
    assert Store(bucket).get("o_box.png")[0] == b"written a moment ago"


def test_python_takes_urls(bucket: str, photo: Path) -> None:
    Store(bucket).put("a.png", photo.read_bytes())
    [report] = convcli.apply(f"{bucket}/a.png", "box", out_dir=f"{bucket}/out")
    assert report["outputs"][0]["path"] == f"{bucket}/out/a_box/box-r.png"
    assert Store(f"{bucket}/out").exists("a_box/box-r.png")
    with pytest.raises(ConvcliError, match="no such object"):
        convcli.apply(f"{bucket}/none.png", "box", out_dir=f"{bucket}/out")


def test_a_job_in_a_store_makes_the_bytes_of_a_local_batch(
    bucket: str, rng: np.random.Generator, tmp_path: Path
) -> None:
    put_photos(f"{bucket}/in", rng, tmp_path / "in")
    Store(f"{bucket}/in").put("bad.png", b"no picture")
    where = [f"{bucket}/job", f"{bucket}/in", "-k", "sobel", "--out-dir", f"{bucket}/out", "--shard", "2"]
    run_cli("job", "plan", *where, "-q").ok()
    assert "not empty" not in run_cli("job", "status", f"{bucket}/job").ok().stdout
    Store(f"{bucket}/in").put("sub/a.png", b"another")
    assert run_cli("job", "run", f"{bucket}/job").exit_code == 7
    name = "{dir}/{stem}.{suffix}_{bank}/{kernel}-{channel}.{ext}"
    run_cli("apply", tmp_path / "in", "-r", "-k", "sobel", "--out-dir", tmp_path / "out", "--name", name).ok()
    local = pictures(tmp_path / "out")
    assert objects(f"{bucket}/out", ".png") == {
        key: data for key, data in local.items() if not key.startswith("sub/a.png")
    }
    report = run_cli("job", "report", f"{bucket}/job", "--json").json
    failures = {one["input"]: one["error"] for one in report["failures"]}
    assert failures.keys() == {"bad.png", "sub/a.png"}
    assert "changed since it was listed" in failures["sub/a.png"]
    assert tempfile.gettempdir() not in "".join(failures.values())
    written = b"".join([*objects(f"{bucket}/job").values(), *objects(f"{bucket}/out", ".json").values()])
    assert b"a-secret-nobody-may-see" not in written
    assert len(written) > 1000


def test_a_bucket_that_is_not_there_is_told(bucket: str, photo: Path) -> None:
    elsewhere = f"{bucket.partition('://')[0]}://no-such-bucket/in"
    for words in ([elsewhere, "--out-dir", f"{bucket}/out"], [photo, "--out-dir", elsewhere]):
        result = run_cli("apply", *words, "-k", "box")
        assert result.exit_code != 0
        assert "there is no such" in result.stderr
        assert "bucket" in result.stderr
        assert "credentials" not in result.stderr


def test_a_tar_is_named_by_its_url(bucket: str, rng: np.random.Generator, tmp_path: Path) -> None:
    put_photos(f"{bucket}/in", rng, tmp_path / "in")
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(tmp_path / "in" / "a.png", "a.png")
        archive.add(tmp_path / "in" / "sub" / "a.png", "sub/a.png")
    Store(bucket).put("x.tar", (tmp_path / "x.tar").read_bytes())
    words = [f"{bucket}/x.tar", "-k", "box", "--layout", "picture", "--out-dir", f"{bucket}/out"]
    run_cli("job", "plan", f"{bucket}/job", *words).ok()
    run_cli("job", "run", f"{bucket}/job").ok()
    made = objects(f"{bucket}/out", ".png")
    assert len(made) == 2
    run_cli("apply", tmp_path / "in" / "a.png", "-k", "box", "-o", tmp_path / "a.png").ok()
    assert (tmp_path / "a.png").read_bytes() in made.values()


def test_tars_and_folders_of_chunks_go_into_a_store(bucket: str, rng: np.random.Generator, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr", reason="the extra zarr is not installed")
    put_photos(f"{bucket}/in", rng, tmp_path / "in")
    for form in ("tar:npy", "zarr"):
        place = f"{bucket}/{form[:3]}"
        words = ["job", "plan", f"{place}-job", f"{bucket}/in", "-k", "sobel", "--out-dir", place, "--format", form]
        run_cli(*words, "-q").ok()
        run_cli("job", "run", f"{place}-job", "-q").ok()
    [tar] = objects(f"{bucket}/tar").values()
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        packed = np.load(io.BytesIO(archive.extractfile("sub/a%2Epng.sobel.x-r.npy").read()))
    inside = "sub/a.png_sobel/x-r.zarr"
    for name, data in objects(f"{bucket}/zar/{inside}").items():
        path = tmp_path / "copy.zarr" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    np.testing.assert_array_equal(zarr.open(tmp_path / "copy.zarr")["0"], packed)
    words = ["apply", f"{bucket}/in/a.png", "-k", "sobel", "-o", f"{bucket}/o.zarr"]
    run_cli(*words).ok()
    assert f"{bucket}/o.zarr exists" in run_cli(*words).stderr


def test_a_store_creates_once_and_lists_page_by_page(bucket: str) -> None:
    store = Store(bucket)
    assert store.create("x/1", b"first")
    assert not store.create("x/1", b"second")
    assert store.get("x/1")[0] == b"first"
    assert store.exists("x/1")
    assert not store.exists("x/2")
    assert list(Store(f"{bucket}/none").pages()) == []
    files = Store(f"file://{tempfile.mkdtemp()}")
    for number in range(2500):
        files.put(f"{number}", b"")
    assert [len(page) for page in files.pages()] == [1000, 1000, 500]


def test_web_servers_are_for_inputs(photo: Path, tmp_path: Path) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(photo.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place = f"http://127.0.0.1:{server.server_port}"
    try:
        run_cli("apply", f"{place}/{photo.name}", "-k", "box", "-o", tmp_path / "o.png").ok()
        run_cli("apply", photo, "-k", "box", "-o", tmp_path / "local.png").ok()
        np.testing.assert_array_equal(load_image(tmp_path / "o.png"), load_image(tmp_path / "local.png"))
        result = run_cli("apply", photo, "-k", "box", "-o", f"{place}/x.png")
        assert result.exit_code == 2
        assert "for inputs only" in result.stderr
        assert run_cli("apply", f"{place}/none.png", "-k", "box", "-o", tmp_path / "n.png").exit_code == 3
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("suffix", [".png", ".zarr"])
@pytest.mark.parametrize("url", ["zz://b/a", "az://only", "s3://somebody:secret@bucket/a", "https://h/a?key=secret&x="])
def test_urls_that_no_store_understands_are_refused(
    url: str, suffix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    words = [f"{url}{suffix}", "-k", "box", "--out-dir", tmp_path / "o"]
    result = run_cli("apply", *words)
    assert result.exit_code == 2
    assert "hint:" in result.stderr
    assert "secret" not in result.stderr
    assert "source:" not in result.stderr  # the library's own state
    if "secret" in url:
        assert run_cli("job", "plan", tmp_path / "job", *words).exit_code == 2
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_store_that_fails_is_told_in_a_line(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConvcliError, match="no such object"):
        Store("s3://no-such-bucket/x").get("a")
    monkeypatch.setattr(storage, "_RETRIES", {"max_retries": 0})
    monkeypatch.setenv("AWS_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(OutputError) as caught:
        Store(bucket).put("a", b"")
    assert "\n" not in str(caught.value)


def test_without_the_extra_its_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "obstore", None)
    with pytest.raises(UsageError) as caught:
        Store("s3://bucket/a")
    assert "convcli[cloud]" in str(caught.value.hint)


@pytest.mark.subprocess
def test_local_names_never_load_the_library_of_stores(photo: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from convcli.cli import main\n"
        f"try: main(['apply', {str(photo)!r}, '-k', 'box', '-q', '--out-dir', {str(tmp_path / 'o')!r}])\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert not {'obstore', 'convcli.pipeline.storage', 'convcli.pipeline.staging'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)


@pytest.mark.subprocess
def test_copies_are_removed_and_nothing_forks_after_a_store_was_used(
    bucket: str, rng: np.random.Generator, tmp_path: Path
) -> None:
    put_photos(f"{bucket}/in", rng, tmp_path / "in")
    (tmp_path / "tmp").mkdir()
    code = (
        "import os, sys, tempfile\n"
        f"tempfile.tempdir = {str(tmp_path / 'tmp')!r}\n"
        "def fork(): raise AssertionError('forked')\n"
        "os.fork = fork\n"
        f"sys.argv[1:] = ['apply', '{bucket}/in', '-k', 'box', '-j', '2', '--out-dir', {str(tmp_path / 'o')!r}]\n"
        "from convcli.__main__ import main; main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "4 of 4 done" in result.stdout
    assert not list((tmp_path / "tmp").iterdir())
