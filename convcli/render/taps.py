"""Colours of taps, on terminals and pages: white at 0, red above, blue below, as strong as the tap is large."""

from __future__ import annotations


def colour(share: float) -> str:
    """Return the colour of a tap by its share of the largest: white at 0, red up, blue down.

    Examples
    --------
    >>> colour(0.0), colour(1.0), colour(-1.0)
    ('#f7f7f7', '#b2182b', '#2166ac')
    """
    end = (178, 24, 43) if share > 0 else (33, 102, 172)
    strength = min(1.0, abs(share)) ** 0.6  # small taps still show
    red, green, blue = (round(247 + (part - 247) * strength) for part in end)
    return f"#{red:02x}{green:02x}{blue:02x}"


def ink(share: float) -> str:
    """Return the colour of a number on the colour of its share: dark cells need light digits."""
    return "#ffffff" if abs(share) > 0.5 else "#202020"
