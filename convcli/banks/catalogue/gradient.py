"""Families that differentiate."""

from __future__ import annotations

from convcli.banks.catalogue.kinds import Family, Parameter

_GAIN = Parameter(
    "gain", "choice", "source", "taps as published, or scaled so that a slope of 1 gives 1", choices=("source", "unit")
)

FAMILIES = (
    Family(
        "sobel",
        "bank",
        "gradient:sobel",
        (Parameter("size", "odd", 3, "rows and columns", "px", 3, 101), _GAIN),
        "2 x size x size",
        "gradient right and down, any odd size",
        "Sobel & Feldman 1968; larger sizes as OpenCV getDerivKernels",
        ("edge", "gradient"),
    ),
    Family(
        "scharr",
        "bank",
        "gradient:scharr",
        (Parameter("variant", "choice", "3-10-3", "smoothing taps", choices=("3-10-3", "47-162-47")), _GAIN),
        "2x3x3",
        "gradient right and down with less error in direction",
        "H. Scharr, dissertation, Heidelberg 2000; 47-162-47 are the optimised taps FFmpeg uses, /256",
        ("edge", "gradient"),
    ),
    Family(
        "prewitt",
        "bank",
        "gradient:prewitt",
        (Parameter("size", "odd", 3, "rows and columns", "px", 3, 101), _GAIN),
        "2 x size x size",
        "gradient right and down: the slope of the best-fitting plane",
        "J. Prewitt 1970; larger sizes as least-squares planes",
        ("edge", "gradient"),
    ),
    Family(
        "farid",
        "bank",
        "gradient:farid",
        (
            Parameter("taps", "odd", 5, "3, 5, 7 or 9", "px", 3, 9),
            Parameter("order", "int", 1, "of the derivatives; 2 for 7 and 9 taps, 3 for 9", "", 1, 3),
        ),
        "order+1 x taps x taps",
        "derivatives that turn evenly: x y, xx xy yy, xxx xxy xyy yyy",
        "H. Farid & E. P. Simoncelli, IEEE Trans. Image Processing 13(4), 2004, and the author's page",
        ("edge", "gradient"),
    ),
    Family(
        "savitzky-golay",
        "family",
        "gradient:savitzky_golay",
        (
            Parameter("size", "size", (5, 5), "rows and columns, N or HxW", "px", 1, 51),
            Parameter("degree", "int", 2, "of the polynomial", "", 0, 10),
            Parameter("dx", "int", 0, "derivatives to the right", "", 0, 10),
            Parameter("dy", "int", 0, "derivatives downward", "", 0, 10),
            Parameter(
                "basis",
                "choice",
                "total",
                "monomials of the total degree, or the product of two 1-D filters",
                choices=("total", "separable"),
            ),
        ),
        "size",
        "smoothing or derivative of the polynomial that fits best",
        "A. Savitzky & M. Golay, Anal. Chem. 36, 1964",
        ("blur", "edge"),
        ("savgol",),
    ),
)
