"""Without the extra for stores, URLs are refused wherever a file or folder is named, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import run_cli

from convcli.pipeline import storage


@pytest.mark.parametrize(
    "arguments",
    [
        ["apply", "s3://bucket/a.png", "-k", "sobel", "-o", "o.png"],
        ["apply", "https://example.org/a.png", "-k", "sobel", "-o", "o.png"],
        ["apply", "{photo}", "-k", "s3://bucket/k.npy", "-o", "o.png"],
        ["apply", "{photo}", "-k", "sobel", "--out-dir", "gs://bucket/x"],
        ["apply", "{photo}", "-k", "sobel", "-o", "s3://bucket/o.png"],
        ["apply", "{photo}", "-k", "sobel", "-o", "o.png", "--report", "az://b/r.json"],
        ["apply", "{photo}", "--stack", "s3://bucket/s.toml"],
        ["shape", "s3://bucket/a.png", "conv:1,k=3"],
        ["shape", "s3://bucket/a.onnx"],
        ["shape", "--onnx", "s3://bucket/a.onnx"],
        ["play", "{photo}", "-o", "s3://bucket/p.html"],
        ["play", "s3://bucket/a.png"],
        ["explain", "s3://bucket/a.png", "-k", "sobel", "--at", "1,1"],
        ["compare", "s3://bucket/a.png", "-k", "sobel"],
        ["kernels", "check", "s3://bucket/k.toml"],
        ["kernels", "show", "sobel", "--png", "s3://bucket/k.png"],
        ["kernels", "export", "sobel", "-o", "s3://bucket/k.toml"],
        ["animate", "5x5", "conv:1,k=3", "-o", "s3://bucket/a.svg"],
    ],
)
def test_urls_are_refused(arguments: list[str], photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "obstore", None)
    result = run_cli(*(word.format(photo=photo) for word in arguments), cwd=tmp_path)
    assert result.exit_code == 2
    says = "is a URL, which needs the package obstore" if arguments[0] == "apply" else "only local files are read"
    assert says in result.stderr
    assert "hint: " in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ["apply", "s3:/bucket/a.png", "-k", "sobel", "-o", "o.png"],
        ["apply", "{photo}", "-k", "sobel", "-o", "S3:/bucket/o.png"],
        ["apply", "{photo}", "-k", "sobel", "--out-dir", "gs:/bucket"],
        ["apply", "{photo}", "-k", "sobel", "-o", "o.png", "--report", "az:/bucket/r.json"],
        ["kernels", "export", "sobel", "-o", "s3:/bucket/k.toml"],
        ["job", "plan", "s3:/bucket/job", "{photo}", "-k", "sobel", "--out-dir", "out"],
    ],
)
def test_a_slash_too_few_makes_no_folder(arguments: list[str], photo: Path, tmp_path: Path) -> None:
    result = run_cli(*(word.format(photo=photo) for word in arguments), cwd=tmp_path)
    assert result.exit_code == 2
    assert "://bucket" in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_scheme_alone_is_no_folder_of_this_machine(photo: Path, tmp_path: Path) -> None:
    pytest.importorskip("obstore", reason="the extra cloud is not installed")
    (tmp_path / "s3:").mkdir()
    (tmp_path / "s3:" / "a.png").write_bytes(photo.read_bytes())
    result = run_cli("apply", "s3://", "-k", "box", "--out-dir", "o", cwd=tmp_path)
    assert (result.exit_code, "hint: s3://" in result.stderr) == (2, True), result


def test_a_list_with_a_url_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "obstore", None)
    (tmp_path / "names").write_text("s3://bucket/a.png\n")
    result = run_cli("apply", "-k", "sobel", "--files-from", "names", "--out-dir", tmp_path / "o", cwd=tmp_path)
    assert result.exit_code == 2
    assert not (tmp_path / "o").exists()


def test_a_colon_in_a_name_is_no_url(photo: Path, tmp_path: Path) -> None:
    (tmp_path / "a:b.png").write_bytes(photo.read_bytes())
    run_cli("apply", "a:b.png", "-k", "sobel", "-o", "o.png", cwd=tmp_path).ok()
