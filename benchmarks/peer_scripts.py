"""What a user of each Python library would write: read, filter, write.

Run as ``python peer_scripts.py LIBRARY JOB ...``.

Jobs: ``sobel IN OUT``, ``conv7 IN OUT TAPS.npy``, ``gauss IN OUT``, ``maps IN DIR`` (|gx|, |gy| of each plane),
``bank IN DIR TAPS.npy``, ``folder DIR OUT_DIR`` (sobel of every file, in one process with threads).
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

X = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32)


def opencv(job: str, source: str, target: str, *more: str) -> None:
    import cv2

    border = cv2.BORDER_REPLICATE

    def sobel(path: str, out: str) -> None:
        image = cv2.imread(path)
        gx = cv2.Sobel(image, cv2.CV_32F, 1, 0, borderType=border)
        gy = cv2.Sobel(image, cv2.CV_32F, 0, 1, borderType=border)
        cv2.imwrite(out, cv2.convertScaleAbs(cv2.magnitude(gx, gy)))

    if job == "sobel":
        sobel(source, target)
    elif job == "folder":
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda path: sobel(str(path), f"{target}/{path.stem}.png"), sorted(Path(source).iterdir())))
    elif job == "gauss":
        cv2.imwrite(target, cv2.GaussianBlur(cv2.imread(source), (41, 41), 5, borderType=border))
    elif job == "conv7":
        cv2.imwrite(target, cv2.filter2D(cv2.imread(source), -1, np.load(more[0])[0, 0], borderType=border))
    elif job == "maps":
        image = cv2.imread(source)
        for name, dx, dy in (("x", 1, 0), ("y", 0, 1)):
            edges = cv2.convertScaleAbs(cv2.Sobel(image, cv2.CV_32F, dx, dy, borderType=border))
            for plane, channel in enumerate("bgr"):
                cv2.imwrite(f"{target}/{name}-{channel}.png", edges[:, :, plane])
    elif job == "bank":
        image = cv2.imread(source, cv2.IMREAD_GRAYSCALE)
        for index, taps in enumerate(np.load(more[0])[:, 0]):
            response = cv2.filter2D(image, cv2.CV_32F, taps, borderType=border)
            cv2.imwrite(
                f"{target}/{index}.png",
                cv2.convertScaleAbs(response)
                if abs(taps.sum()) < 1e-6
                else np.clip(np.rint(response), 0, 255).astype(np.uint8),
            )


def pillow(job: str, source: str, target: str, *_: str) -> None:
    from PIL import Image, ImageFilter

    if job == "gauss":
        Image.open(source).filter(ImageFilter.GaussianBlur(5)).save(target)


def skimage(job: str, source: str, target: str, *more: str) -> None:
    import scipy.ndimage
    import skimage.filters
    import skimage.io

    image = skimage.io.imread(source)
    if job == "sobel":
        planes = image.astype(np.float32)  # scipy.ndimage.sobel would smooth across the planes as well
        gx, gy = (scipy.ndimage.correlate(planes, taps[:, :, None], mode="nearest") for taps in (X, X.T))
        out = np.hypot(gx, gy)
    elif job == "gauss":
        out = skimage.filters.gaussian(image, 5, mode="nearest", channel_axis=-1, preserve_range=True)
    else:
        out = scipy.ndimage.correlate(image.astype(np.float32), np.load(more[0])[0, 0][:, :, None], mode="nearest")
    skimage.io.imsave(target, np.clip(np.rint(out), 0, 255).astype(np.uint8), check_contrast=False)


def torch(job: str, source: str, target: str, *more: str) -> None:
    import torch
    from PIL import Image
    from torch.nn.functional import conv2d, pad

    image = Image.open(source)
    image = image.convert("L") if job == "bank" else image
    planes = torch.from_numpy(np.array(image, np.float32).reshape(image.height, image.width, -1)).permute(2, 0, 1)[
        :, None
    ]
    if job in ("sobel", "maps"):
        weight = torch.from_numpy(np.stack([X, X.T])[:, None].copy())
    elif job == "gauss":
        line = np.exp(-(np.arange(-20, 21, dtype=np.float32) ** 2) / 50)
        weight = torch.from_numpy(np.outer(line, line)[None, None] / line.sum() ** 2)
    else:
        weight = torch.from_numpy(np.load(more[0]).astype(np.float32))
    before, after = (weight.shape[-1] - 1) // 2, weight.shape[-1] // 2
    maps = conv2d(pad(planes, (before, after, before, after), mode="replicate"), weight)
    if job == "sobel":
        maps = maps.square().sum(1, keepdim=True).sqrt()
    elif job == "maps":
        maps = maps.abs()
    elif job == "bank":
        zero = weight.sum((1, 2, 3)).abs() < 1e-4
        maps = torch.where(zero[None, :, None, None], maps.abs(), maps)
    stored = maps.round().clamp(0, 255).to(torch.uint8).numpy()
    if job == "maps":
        for plane, channel in enumerate("rgb"):
            for index, name in enumerate("xy"):
                Image.fromarray(stored[plane, index]).save(f"{target}/{name}-{channel}.png")
    elif job == "bank":
        for index, one in enumerate(stored[0]):
            Image.fromarray(one).save(f"{target}/{index}.png")
    else:
        Image.fromarray(np.ascontiguousarray(stored[:, 0].transpose(1, 2, 0).squeeze())).save(target)


if __name__ == "__main__":
    {"opencv": opencv, "pillow": pillow, "skimage": skimage, "torch": torch}[sys.argv[1]](*sys.argv[2:])
