"""Animated in times out: times, plays and pixels as Pillow sees them on both sides, and a note for each loss."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import run_cli
from PIL import Image as Pillow

from convcli.errors import OutputError
from convcli.images.animation import open_animation
from convcli.images.formats import FORMATS
from convcli.images.plays import plays_of as read_plays
from convcli.images.reading import probe
from convcli.images.write import timing_notes

KINDS = [row.name for row in FORMATS if row.animated]
TIMES = [30, 75, 500, 20]


def frames() -> list[Pillow.Image]:
    """Few colours, so that GIF holds them; blocks of 8 pixels, so that AVIF nearly does."""
    rng = np.random.default_rng(5)
    blocks = rng.choice([0, 60, 200, 250], (len(TIMES), 3, 4, 3)).astype(np.uint8)
    return [Pillow.fromarray(np.kron(block, np.ones((8, 8, 1), np.uint8))) for block in blocks]


def save(path: Path, plays: int, images: list[Pillow.Image], **more: Any) -> Path:
    kind = path.suffix[1:]
    options: dict[str, Any] = {"save_all": True, "append_images": images[1:], **more}
    if kind != "tiff":
        options["duration"] = [ms // 10 * 10 for ms in TIMES] if kind == "gif" else TIMES
    if kind == "gif":
        options |= {"loop": plays - 1} if plays > 1 else {} if plays else {"loop": 0}
    elif kind in ("webp", "png"):
        options["loop"] = plays
    options |= {"webp": {"lossless": True}, "avif": {"quality": 100, "subsampling": "4:4:4"}}.get(kind, {})
    images[0].save(path, **options)
    return path


def times_of(path: Path) -> list[float | None]:
    with Pillow.open(path) as image:
        times = []
        for index in range(image.n_frames):
            image.seek(index)
            image.load()
            times.append(image.info.get("duration"))
        return times


def plays_of(path: Path) -> int | None:
    """Plays by Pillow; those of AVIF by the bytes of its boxes, as libavif writes them."""
    with Pillow.open(path) as image:
        loop, kind = image.info.get("loop"), image.format
    if kind == "GIF":
        return 1 if loop is None else loop and loop + 1
    if kind == "AVIF":
        data = path.read_bytes()
        edit, track = data.index(b"elst"), data.index(b"tkhd")
        once, total = struct.unpack_from(">Q", data, edit + 12)[0], struct.unpack_from(">Q", data, track + 32)[0]
        return 0 if total == 2**64 - 1 else total // once if data[edit + 7] & 1 else 1
    return loop


def pixels_of(path: Path) -> np.ndarray:
    with Pillow.open(path) as image:
        every = []
        for index in range(image.n_frames):
            image.seek(index)
            every.append(np.array(image.convert("RGB"), int))
        return np.stack(every)


@pytest.mark.parametrize("into", KINDS)
@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("plays", [0, 1, 3])
def test_animated_in_and_out(source: str, into: str, plays: int, tmp_path: Path) -> None:
    file = save(tmp_path / f"in.{source}", plays, frames())
    out = tmp_path / f"out.{into}"
    depth = ["--depth", "8"] if into == "tiff" else []
    report = run_cli("apply", file, "-k", "identity", "-o", out, "--json", *depth).ok().json
    notes = "; ".join(report["notes"])
    lossy = {"avif", "gif"} & {source, into}
    difference = np.abs(pixels_of(out) - pixels_of(file))
    assert difference.shape[0] == len(TIMES)
    assert difference.max() <= (9 if lossy else 0)
    before, after = times_of(file), times_of(out)
    plays_before = {"avif": 0, "tiff": None}.get(source, plays)
    if into == "tiff":
        assert after == [None] * len(TIMES)
        total = f"keeps no frame times: {sum(t or 0 for t in before):g} ms in all"
        assert (total in notes) == (source != "tiff")
        return
    unit = 10 if into == "gif" else 1
    assert after == [100 if ms is None else round(ms / unit) * unit for ms in before]
    assert plays_of(out) == (1 if plays_before is None else plays_before)
    n_rounded = sum(ms is not None and ms % unit > 0 for ms in before)
    assert (f"{n_rounded} of 4 frame times are rounded to 10 ms (75 to 80)" in notes) == (n_rounded > 0)
    assert ("4 frames have no time: 100 ms each" in notes) == (source == "tiff")
    assert ("does not say how often it is played" in notes) == (source == "tiff")


@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_equal_frames_are_joined_and_said(kind: str, tmp_path: Path) -> None:
    first, second, *_ = frames()
    file = save(tmp_path / "in.tiff", 1, [first, first, first, second])
    report = run_cli("apply", file, "-k", "identity", "-o", tmp_path / f"o.{kind}", "--json").ok().json
    assert times_of(tmp_path / f"o.{kind}") == [300, 100]
    assert "2 frames equal the one before and are joined with it; their times are added" in report["notes"]


LONG = {
    "gif": ([700_000.0, 40.0], 655_350, "1 of 2 frame times are cut to 655,350 ms (7e+05 to 655350)"),
    "png": ([70_000.0, 40.0], 65_535, "1 of 2 frame times are cut to 65,535 ms (7e+04 to 65535)"),
    "webp": ([2e7, 40.0], 2**24 - 1, "1 of 2 frame times are cut to 16,777,215 ms (2e+07 to 16777215)"),
}


@pytest.mark.parametrize("kind", LONG)
def test_times_and_plays_beyond_a_format(kind: str, tmp_path: Path) -> None:
    times, stored, note = LONG[kind]
    options = {"width_px": 32, "height_px": 24, "n_planes": 3, "n_frames": 2, "durations_ms": times}
    with open_animation(tmp_path / "a", picture_format=kind, loop=2**40, **options) as writer:
        for image in frames()[:2]:
            writer.write(np.asarray(image))
    assert times_of(tmp_path / "a") == [stored, 40]
    most = {"gif": 65_536, "webp": 65_535, "png": 2**31 - 1}[kind]
    assert plays_of(tmp_path / "a") == most
    assert timing_notes(kind, times, 2**40) == (note, f"{kind} is played at most {most:,} times, not {2**40:,}")


def test_equal_frames_that_last_too_long(tmp_path: Path) -> None:
    image = np.asarray(frames()[0])
    options = {"width_px": 32, "height_px": 24, "n_planes": 3, "n_frames": 3, "durations_ms": [600_000.0] * 3}
    writer = open_animation(tmp_path / "a.gif", picture_format="gif", **options)
    for _ in range(3):
        writer.write(image)
    with pytest.raises(OutputError, match="for more than 655,350 ms"):
        writer.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("broken", [b"elst", b"tkhd", b"moov", b"edts"])
def test_avif_without_an_edit_list_does_not_say(broken: bytes, tmp_path: Path) -> None:
    data = save(tmp_path / "a.avif", 0, frames()).read_bytes()
    assert probe(data).loop == 0
    assert read_plays(data.replace(broken, b"free")) is None
    assert read_plays(data[: data.index(broken) + 6]) is None


def test_half_clear_samples_of_a_gif_are_counted(tmp_path: Path) -> None:
    samples = np.full((4, 6, 4), 200, np.uint8)
    samples[..., 3] = [0, 255, 3, 128, 255, 254]
    Pillow.fromarray(samples).save(tmp_path / "in.png")
    flags = ["-k", "identity", "--alpha", "keep", "-o", tmp_path / "o.gif", "--json"]
    report = run_cli("apply", tmp_path / "in.png", *flags).ok().json
    note = "12 of 24 alpha samples were neither clear nor opaque, and are stored as one of them"
    assert note in report["notes"]
    with Pillow.open(tmp_path / "o.gif") as image:
        assert np.asarray(image.convert("RGBA"))[0, :, 3].tolist() == [0, 255, 0, 255, 255, 255]
