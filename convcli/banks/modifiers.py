"""Modifiers by name and what each does, for reading, help and errors (stdlib)."""

from __future__ import annotations

#: Modifiers that every SPEC takes, and what they do; applied in the order written.
MODIFIERS = {
    "rotate": "degrees, counter-clockwise on the screen",
    "flip": "h (left-right), v (up-down) or hv",
    "transpose": "true: rows become columns",
    "normalize": "sum, l1, l2, max or none",
    "zero_mean": "true: subtract the mean of the taps",
    "scale": "factor on every tap",
    "bias": "added to the sums, in units of the samples",
    "blend_identity": "adds this much of the unchanged image",
    "pad": "zeros added on every side, N or HxW",
    "crop": "taps taken off every side, N or HxW",
    "dilate": "spacing between taps, N or HxW",
    "expand": "degrees: one kernel becomes its rotations",
    "select": "kernels to keep, by name or number: x or 0..5",
    "layout": "order of an array's axes, for files: oihw, hwio, ohw, oik",
    "name": "another name for the bank",
}
