"""Files of many frames: planned from the first headers, the other frames compared when they are read."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from conftest import run_cli
from PIL import Image

from convcli.pipeline import animation
from convcli.pipeline.plan import Planner


def pages(path: Path, *arrays: np.ndarray) -> Path:
    with tifffile.TiffWriter(path) as writer:
        for array in arrays:
            writer.write(array, photometric="minisblack", contiguous=False, metadata=None)
    return path


GREYS = [np.full((6, 5), 20 * index, np.uint8) for index in range(10)]


@pytest.fixture
def few_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(animation, "MOST_HEADERS", 3)


@pytest.mark.usefixtures("few_headers")
def test_frames_beyond_the_first_are_the_same(tmp_path: Path) -> None:
    source = pages(tmp_path / "in.tif", *GREYS)
    flags = ["-k", "identity", "-o", tmp_path / "o.tif", "--depth", "8", "--json"]
    report = run_cli("apply", source, *flags).ok().json
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "o.tif"), np.stack(GREYS))
    note = "planned from the first 3 frames: the others are compared when they are read"
    assert {note, "10 frames, each by itself"} <= set(report["notes"])


@pytest.mark.usefixtures("few_headers")
@pytest.mark.parametrize("suffix", ["webp", "png", "gif"])
def test_times_of_frames_beyond_the_first(suffix: str, tmp_path: Path) -> None:
    times = [40 + 5 * index for index in range(len(GREYS))]
    first, *others = (Image.fromarray(np.repeat(grey[..., None], 3, axis=2)) for grey in GREYS)
    first.save(tmp_path / "in.webp", save_all=True, append_images=others, duration=times, lossless=True, loop=2)
    flags = ["-k", "identity", "-o", tmp_path / f"o.{suffix}", "--json"]
    notes = run_cli("apply", tmp_path / "in.webp", *flags).ok().json["notes"]
    unit = 10 if suffix == "gif" else 1
    with Image.open(tmp_path / f"o.{suffix}") as image:
        found = []
        for index in range(image.n_frames):
            image.seek(index)
            image.load()
            found.append(image.info["duration"])
    assert found == [round(time / unit) * unit for time in times]
    assert any("5 of 10 frame times are rounded to 10 ms" in note for note in notes) == (suffix == "gif")
    planned = run_cli("apply", tmp_path / "in.webp", *flags, "--overwrite", "--dry-run").ok().stdout
    assert "frame times are rounded" not in planned


@pytest.mark.usefixtures("few_headers")
@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (np.zeros((6, 7), np.uint8), "frame 5 has size 7x6, frame 0 5x6"),
        (np.zeros((6, 5), np.uint16), "frame 5 has type uint16, frame 0 uint8"),
    ],
)
def test_an_unlike_frame_beyond_the_first_is_refused(odd: np.ndarray, words: str, tmp_path: Path) -> None:
    source = pages(tmp_path / "in.tif", *GREYS[:5], odd, *GREYS[6:])
    flags = ["-k", "identity", "-o", tmp_path / "o.tif", "--depth", "8"]
    result = run_cli("apply", source, *flags)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "--frames 0-4 takes those before it" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in.tif"]
    run_cli("apply", source, *flags, "--frames", "0-4").ok()


@pytest.mark.usefixtures("few_headers")
def test_maps_of_frames_beyond_the_first(tmp_path: Path) -> None:
    source = pages(tmp_path / "in.tif", *GREYS[:5], np.zeros((9, 9), np.uint16))
    run_cli("apply", source, "-k", "identity", "--layout", "maps", "--out-dir", tmp_path / "o", "-q").ok()
    assert sorted(path.name for path in (tmp_path / "o" / "in_identity").iterdir()) == [f"00{i}" for i in range(6)]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_a_plan_of_many_frames_is_made_of_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n_frames = 5_000
    data = io.BytesIO()
    data.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)))
    data.write(chunk(b"acTL", struct.pack(">II", n_frames, 0)))
    for index in range(n_frames):
        data.write(chunk(b"fcTL", struct.pack(">IIIIIHHBB", index, 1, 1, 0, 0, 1, 10, 0, 0)))
        pixel = zlib.compress(bytes([0, index % 256]))
        data.write(chunk(b"fdAT", struct.pack(">I", index) + pixel) if index else chunk(b"IDAT", pixel))
    (tmp_path / "in.png").write_bytes(data.getvalue() + chunk(b"IEND", b""))
    planned = []
    plan = Planner.plan
    monkeypatch.setattr(Planner, "plan", lambda *arguments: planned.append(1) or plan(*arguments))
    flags = ["-k", "identity", "-o", tmp_path / "o.png", "--dry-run"]
    assert f"{n_frames} frames, each by itself" in run_cli("apply", tmp_path / "in.png", *flags).ok().stdout
    assert len(planned) == 1
