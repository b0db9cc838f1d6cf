"""One colour scale for every rendering of a keep probability.

A straight line in OKLab, so equal steps in keep probability look like equal steps; one hue, so
only lightness ranks the values and the scale survives greyscale printing and colour blindness.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Rgb = tuple[int, int, int]

BLACK: Rgb = (0, 0, 0)
WHITE: Rgb = (255, 255, 255)

_HUE = np.deg2rad(274.0)

# Björn Ottosson's OKLab (2020): the matrices from Lab to linear sRGB.
_LAB_TO_LMS = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_LMS_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


class Scale(NamedTuple):
    """Lightness and chroma in OKLCH at keep probability 0 and at 1; the hue is the same."""

    dropped: tuple[float, float]
    kept: tuple[float, float]


ON_LIGHT = Scale(dropped=(0.965, 0.008), kept=(0.42, 0.17))
ON_DARK = Scale(dropped=(0.275, 0.018), kept=(0.79, 0.10))


def color(value: float, scale: Scale = ON_LIGHT) -> Rgb:
    """The sRGB colour, 0 to 255, of a keep probability in [0, 1]."""
    lightness, chroma = (1 - value) * np.array(scale.dropped) + value * np.array(scale.kept)
    lab = np.array([lightness, chroma * np.cos(_HUE), chroma * np.sin(_HUE)])
    linear = np.clip(_LMS_TO_RGB @ (_LAB_TO_LMS @ lab) ** 3, 0.0, 1.0)
    red, green, blue = (round(float(channel)) for channel in 255 * _gamma(linear))
    return red, green, blue


def text_color(background: Rgb) -> Rgb:
    """Black or white, whichever contrasts more: the WCAG ratio is then at least 4.5."""
    return max(BLACK, WHITE, key=lambda text: contrast(text, background))


def contrast(a: Rgb, b: Rgb) -> float:
    """WCAG 2 contrast ratio (Y_light + 0.05) / (Y_dark + 0.05), from 1 to 21."""
    dark, light = sorted((_luminance(a), _luminance(b)))
    return (light + 0.05) / (dark + 0.05)


def hex_color(rgb: Rgb) -> str:
    """`#rrggbb`, shortened to `#rgb` if that is the same colour."""
    full = "#{:02x}{:02x}{:02x}".format(*rgb)
    short = all(high == low for high, low in zip(full[1::2], full[2::2], strict=True))
    return "#" + full[1::2] if short else full


def _luminance(rgb: Rgb) -> float:
    s = np.array(rgb) / 255
    linear = np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)
    return float(linear @ np.array([0.2126, 0.7152, 0.0722]))


def _gamma(linear: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " 3"]:
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
