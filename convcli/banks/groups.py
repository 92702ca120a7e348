"""The rule of an explicit ``--groups N``: it is torch's, and only ``auto`` repeats kernels (standard library)."""

from __future__ import annotations

from convcli.errors import GeometryError

Shape = tuple[int, ...]


def auto_groups(shape: Shape, n_planes: int, *, transposed: bool = False) -> tuple[int, int] | None:
    """Return (groups, maps) that ``--groups auto`` gives weights of ``shape`` on ``n_planes``; None if they do not fit.

    Kernels of one channel run on every plane by itself, others with as many groups as the planes have room for.

    Examples
    --------
    >>> auto_groups((2, 1, 3, 3), 3), auto_groups((8, 3, 3, 3), 6), auto_groups((8, 3, 3, 3), 4)
    ((3, 6), (2, 8), None)
    """
    first, second = shape[:2]
    if second == 1:
        return n_planes, n_planes * first
    if transposed:
        return (1, second) if first == n_planes else None
    # torch's rule: planes and kernels both divide by the groups.
    groups = n_planes // second
    return (groups, first) if groups and groups * second == n_planes and first % groups == 0 else None


def check_weight_groups(shape: Shape, n_planes: int, groups: int, *, transposed: bool = False) -> None:
    """Refuse weights that torch would not run in this many groups; the hint says what ``auto`` would do.

    Parameters
    ----------
    shape : tuple of int
        ``(O, I/groups, …)``, or transposed ``(I, O/groups, …)``. One group also takes kernels of one channel: they are
        repeated over the planes, and the responses are added.
    n_planes, groups : int
        Input planes, and the number of groups that was written.

    Raises
    ------
    GeometryError
        Carries ``in_channels`` and ``groups``.

    Examples
    --------
    >>> check_weight_groups((6, 1, 3, 3), 3, 3)
    >>> check_weight_groups((2, 1, 3, 3), 3, 3)
    Traceback (most recent call last):
    ...
    convcli.errors.GeometryError: 2 kernels do not divide into 3 groups
    """
    first, second = shape[:2]
    # Transposed weights name all their inputs, others those of one group.
    taken = first if transposed else second * groups
    if n_planes % groups:
        divisors = ", ".join(str(n) for n in range(1, n_planes + 1) if n_planes % n == 0)
        fault, hint = f"{groups} groups do not divide {n_planes} planes", f"groups that do: {divisors}"
    elif taken != n_planes and not (groups == 1 and second == 1):
        written = "x".join(map(str, shape))
        fault, hint = f"weights {written} in {groups} groups take {taken} planes, and there are {n_planes}", ""
    elif not transposed and first % groups:
        fault, hint = f"{first} kernels do not divide into {groups} groups", ""
    else:
        return
    auto = auto_groups(shape, n_planes, transposed=transposed)
    if auto is None:
        hint = hint or f"--channels picks planes: {first if transposed else second}"
    else:
        what = f"each of {first} kernels on each of {n_planes} planes" if second == 1 else f"--groups {auto[0]}"
        hint = f"{hint and hint + '; '}--groups auto gives {auto[1]} map{'s' * (auto[1] > 1)}: {what}"
    raise GeometryError(fault, hint=hint, in_channels=n_planes, groups=groups)
