"""The catalogue of kernel families: names, parameters, bounds and sources, as data that costs nothing to load.

What a family computes is in :mod:`convcli.banks.families`, imported when one is asked for.
"""

from __future__ import annotations

from functools import cache

from convcli.banks.catalogue.kinds import Family, Parameter

__all__ = ["Family", "Parameter", "families", "family_names", "find_family"]


@cache
def families() -> dict[str, Family]:
    """Return every family by name.

    Examples
    --------
    >>> families()["gaussian"].parameter_texts[0]
    'sigma=1.0 px'
    """
    from convcli.banks.catalogue import basis, gradient, laplace, smooth, texture

    return {family.name: family for module in (smooth, laplace, gradient, texture, basis) for family in module.FAMILIES}


@cache
def family_names() -> frozenset[str]:
    """Return every name that means a family, aliases included."""
    return frozenset(name for family in families().values() for name in (family.name, *family.aliases))


def find_family(name: str) -> Family | None:
    """Return the family called ``name`` (in normal form), or None."""
    known = families()
    if name in known:
        return known[name]
    return next((family for family in known.values() if name in family.aliases), None)
