"""Families for texture: Gabor functions and the published filter banks."""

from __future__ import annotations

from convcli.banks.catalogue.kinds import Family, Parameter, angle

FAMILIES = (
    Family(
        "gabor",
        "family",
        "gabor:gabor",
        (
            Parameter("wavelength", "float", 8.0, "of the wave", "px", 2.0, 2000.0),
            angle(about="of the wave's direction, counter-clockwise on the screen, 0 is to the right"),
            Parameter(
                "sigma", "float", None, "of the envelope along the wave", "px", 0.1, 500.0, auto="from bandwidth"
            ),
            Parameter(
                "bandwidth", "float", 1.0, "half-response bandwidth, when sigma is not given", "octaves", 0.1, 5.0
            ),
            Parameter("aspect", "float", 0.5, "sigma along the wave / sigma across it", "", 0.05, 20.0),
            Parameter("phase", "float", 0.0, "of the wave at the centre", "degrees", -360000.0, 360000.0),
            Parameter("size", "odd", None, "rows and columns", "px", 1, 8191, auto="three sigmas to each side"),
            Parameter("part", "choice", "real", "which quadrature part", choices=("real", "imaginary", "pair")),
            Parameter("dc_free", "flag", True, "take the mean out of the real part, under the envelope"),
        ),
        "size x size (x2 for part=pair)",
        "stripes of one wavelength and direction; pair gives the energy",
        "Daugman 1985; Petkov's parameters",
        ("texture", "edge"),
    ),
)
