"""Read a folder of images with convcli and with others, and count where they agree.

    python benchmarks/corpus.py FOLDER [--list VERDICT] [--seconds 10] [--mutate N]

TIFF is held against tifffile, everything else against Pillow: same frames, same planes, same samples, before
orientation. Where Pillow differs, OpenCV (if it is installed) decides: it composes animated PNGs on its own. Every file
is read in a process of its own, so that a crash or a hang costs one file.

========= =============================================================================================
agree     same samples, up to a scale that the notes name
noted     samples differ, and a note of convcli says why
differ    samples differ, and no note says so
refused   convcli refuses what the other reads
accepted  convcli reads what the other refuses
neither   both refuse
traceback convcli raised something else than its own errors
hang      convcli took longer than ``--seconds``
========= =============================================================================================

``--mutate N`` reads N damaged copies instead (bytes overwritten, cut, repeated; a fixed seed) and looks for
tracebacks, hangs and memory only. Of a PNG every second copy has sound checksums: bodies of chunks, their order and the
filtered rows within them are damaged, and lengths, CRCs and the compression made anew.
"""

from __future__ import annotations

import argparse
import io
import logging
import multiprocessing
import random
import resource
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from damage import damaged, damaged_png

from convcli.errors import ConvcliError

#: Frames compared of each file, and bytes that one process may take.
MOST_FRAMES = 12
MEMORY_BYTES = 4 << 30


class Verdict(NamedTuple):
    """What became of one file."""

    word: str
    detail: str


def read_ours(data: bytes) -> tuple[list[np.ndarray], list[str]]:
    """Return samples (H, W, P) of the first frames, and the notes."""
    from convcli.images.frames import read_frames
    from convcli.images.reading import probe

    info = probe(data, orientation="ignore")
    frames = range(min(info.n_frames, MOST_FRAMES))
    images = list(read_frames(data, orientation="ignore", frames=frames))
    return [np.asarray(one.samples) for one in images], [note for one in images for note in one.info.notes]


def read_others(data: bytes) -> list[np.ndarray]:
    """Return samples (H, W, P) of the first frames by tifffile or Pillow."""
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        import tifffile

        with tifffile.TiffFile(io.BytesIO(data)) as file:
            return [_tiff_page(page) for page in list(file.pages)[:MOST_FRAMES]]
    from PIL import Image, ImageSequence

    with Image.open(io.BytesIO(data)) as image:
        frames = []
        for frame, _ in zip(ImageSequence.Iterator(image), range(MOST_FRAMES), strict=False):
            frame.load()
            frames.append(_expanded(frame))
        # Pillow counts a PNG's default image, which is for programs without animation, as a frame.
        return frames[1:] if getattr(image, "default_image", False) else frames


def _tiff_page(page: Any) -> np.ndarray:
    samples = page.asarray()
    if page.colormap is not None and page.photometric == 3:
        return np.moveaxis(page.colormap, 0, -1)[samples] // 257
    if page.planarconfig == 2 and samples.ndim == 3:
        samples = np.moveaxis(samples, 0, -1)
    samples = samples.reshape(*samples.shape[:2], -1)
    return samples * 255 if samples.dtype == bool else samples


def _expanded(image: Any) -> np.ndarray:
    mode = image.mode
    if mode == "1":
        image = image.convert("L")
    elif mode in ("P", "PA"):
        image = image.convert("RGBA" if "transparency" in image.info or mode == "PA" else "RGB")
    elif mode not in ("L", "LA", "RGB", "RGBA", "I", "F", "I;16", "I;16B"):
        image = image.convert("RGB")
    elif "transparency" in image.info and mode in ("L", "RGB"):
        image = image.convert("LA" if mode == "L" else "RGBA")
    samples = np.asarray(image)
    return samples.reshape(*samples.shape[:2], -1)


def compare(data: bytes) -> Verdict:
    """Read one file both ways."""
    warnings.simplefilter("ignore")
    logging.disable()
    try:
        ours, notes = read_ours(data)
    except ConvcliError as error:
        ours, notes = [], [str(error)]
    except Exception:  # noqa: BLE001 - that is what is looked for
        return Verdict("traceback", traceback.format_exc().strip().replace("\n", " | ")[-300:])
    try:
        others, why = read_others(data), ""
    except Exception as error:  # noqa: BLE001 - Pillow and tifffile raise anything
        others, why = [], f"{type(error).__name__}: {error}"
    if not ours or not others:
        word = {(False, False): "neither", (True, False): "accepted", (False, True): "refused"}[
            bool(ours), bool(others)
        ]
        return Verdict(word, why if ours else notes[0])
    differences = [text for pair in zip(ours, others, strict=False) if (text := _difference(*pair))]
    if len(ours) != len(others):
        differences.append(f"{len(ours)} frames, {len(others)} by the other")
    if not differences:
        return Verdict("agree", "")
    if _agrees_with_opencv(data, ours):
        return Verdict("agree", f"with OpenCV, while Pillow's {differences[0]}")
    return Verdict("noted" if notes else "differ", f"{differences[0]}; notes: {'; '.join(dict.fromkeys(notes))}")


def _agrees_with_opencv(data: bytes, ours: list[np.ndarray]) -> bool:
    """Return whether OpenCV, where it is installed, reads the same frames; colours without any opacity do not count."""
    try:
        import cv2

        found, animation = cv2.imdecodeanimation(np.frombuffer(data, np.uint8))
    except Exception:  # noqa: BLE001 - not installed, too old, or an error of its own
        return False
    frames = list(animation.frames)[:MOST_FRAMES] if found else []
    return len(frames) == len(ours) and all(
        np.array_equal(_rgba(one), _rgba(other, bgr=True)) for one, other in zip(ours, frames, strict=True)
    )


def _rgba(samples: np.ndarray, *, bgr: bool = False) -> np.ndarray:
    """Spread samples over red, green, blue and alpha; clear ones are black."""
    samples = samples.reshape(*samples.shape[:2], -1)
    n_planes = samples.shape[2]
    colour = samples[..., :3] if n_planes > 2 else np.repeat(samples[..., :1], 3, axis=2)
    if bgr and n_planes > 2:
        colour = colour[..., ::-1]
    opaque = np.full((*samples.shape[:2], 1), np.iinfo(samples.dtype).max, samples.dtype)
    alpha = samples[..., -1:] if n_planes in (2, 4) else opaque
    return np.concatenate([colour * (alpha > 0), alpha], axis=2)


def _difference(ours: np.ndarray, others: np.ndarray) -> str:
    """Say how two readings of a frame differ, or return an empty text."""
    if ours.shape[:2] != others.shape[:2]:
        return f"{ours.shape} against {others.shape}"
    n_planes = min(ours.shape[2], others.shape[2])
    grey = ours.shape[2] < 3 <= others.shape[2]
    if ours.dtype == np.uint16 and others.dtype == np.uint8:
        ours = ours >> 8  # Pillow reads colours of 16 bits with 8
    if np.array_equal(ours, others):
        return ""
    left, right = ours[..., :n_planes].astype(float), others[..., :n_planes].astype(float)
    if grey:
        right = others[..., [0, -1][:n_planes]].astype(float)  # Pillow spreads grey of 16 bits over three planes
    most = float(np.nanmax(np.abs(left - right))) if left.size else 0.0
    if most > 0:
        return f"differ by up to {most:g} (max {np.nanmax(left):g} against {np.nanmax(right):g})"
    if ours.shape[2] < others.shape[2] and not grey:
        rest = others[..., ours.shape[2] :]
        if rest.min() != rest.max():
            return f"{ours.shape[2]} planes against {others.shape[2]}"
    return ""


def judge(data: bytes, seconds: float, *, alone: bool) -> Verdict:
    """Compare in a child process that may crash or hang."""
    receiving, sending = multiprocessing.Pipe(duplex=False)

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        sending.send(_alone(data) if alone else compare(data))

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    sending.close()
    try:
        return receiving.recv() if receiving.poll(seconds) else Verdict("hang", f"more than {seconds:g} s")
    except EOFError:
        process.join()
        return Verdict("traceback", f"the process died with {process.exitcode}")
    finally:
        process.kill()
        process.join()


def _alone(data: bytes) -> Verdict:
    """Read a damaged file; agreeing with others means nothing here."""
    warnings.simplefilter("ignore")
    try:
        read_ours(data)
    except ConvcliError as error:
        return Verdict("refused", str(error))
    except Exception:  # noqa: BLE001 - that is what is looked for
        return Verdict("traceback", traceback.format_exc().strip().replace("\n", " | ")[-400:])
    return Verdict("accepted", "")


def cases(folder: Path, n_mutated: int) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if not n_mutated:
        yield from ((str(path.relative_to(folder)), path.read_bytes()) for path in paths)
        return
    small = [path for path in paths if 0 < path.stat().st_size < 200_000]
    rng = random.Random(2)
    for number in range(n_mutated):
        path = small[number % len(small)]
        data = path.read_bytes()
        is_sound = data[:4] == b"\x89PNG" and rng.random() < 0.5
        yield f"{path.relative_to(folder)} ~{number}", (damaged_png if is_sound else damaged)(data, rng)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--list", action="append", default=[], metavar="VERDICT")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--mutate", type=int, default=0, metavar="N")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    shown = {"differ", "traceback", "hang", *options.list}

    def one(case: tuple[str, bytes]) -> tuple[str, Verdict]:
        return case[0], judge(case[1], options.seconds, alone=options.mutate > 0)

    import PIL.Image  # noqa: F401 - loaded once, for all children
    import tifffile  # noqa: F401

    import convcli.images.pillow  # noqa: F401

    with ThreadPoolExecutor(2) as pool:
        for name, verdict in pool.map(one, cases(options.folder, options.mutate)):
            counts[verdict.word] += 1
            if verdict.word in shown:
                print(f"{verdict.word:9} {name}: {verdict.detail}")
    print(f"{sum(counts.values())} files:", ", ".join(f"{word} {n}" for word, n in counts.most_common()))
    return 1 if counts["differ"] + counts["traceback"] + counts["hang"] else 0


if __name__ == "__main__":
    sys.exit(main())
