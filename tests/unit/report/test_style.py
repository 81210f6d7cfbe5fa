"""Colours: told apart by everybody, in light and dark (WCAG 2.2, 1.4.3 and 1.4.11)."""

from __future__ import annotations

import re
from importlib import resources
from itertools import pairwise

import pytest

CSS = resources.files("windtunnel.report").joinpath("style.css").read_text("utf-8")
_BLOCKS = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
_PALETTES = {
    theme: dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    for theme, block in zip(("light", "dark"), _BLOCKS, strict=True)
}
_TEXT = [("ink", "surface"), ("ink", "bg"), ("muted", "surface"), ("muted", "bg"), ("now", "surface")] + [
    (mood, f"{mood}-bg") for mood in ("good", "warning", "critical", "info")
]
_STROKES = ["now", "reference", "estimate", "good", "warning", "critical"]


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), _TEXT)
def test_text_can_be_read(theme: str, text: str, ground: str) -> None:
    palette = _PALETTES[theme]
    assert _contrast(palette[text], palette[ground]) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("stroke", _STROKES)
def test_strokes_can_be_seen(theme: str, stroke: str) -> None:
    palette = _PALETTES[theme]
    assert _contrast(palette[stroke], palette["surface"]) >= 3.0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_levels_of_the_matrix_go_one_way_in_steps_that_can_be_seen(theme: str) -> None:
    levels = [_luminance(_PALETTES[theme][f"level{number}"]) for number in range(5)]
    assert levels == sorted(levels, reverse=theme == "light")
    shades = [_PALETTES[theme][f"level{number}"] for number in range(5)]
    assert all(_contrast(one, other) >= 1.2 for one, other in pairwise(shades))


def test_the_stylesheet_asks_for_nothing() -> None:
    assert "url(" not in CSS
    assert "@import" not in CSS
