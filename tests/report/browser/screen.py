"""What is on the screen of a page, and what its data says should be there."""

from __future__ import annotations

import re


def told(count, word):
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def told_bytes(count):
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.1f} {unit}" if unit != "B" else f"{count} B"
        count /= 1000
    return f"{count:.1f} GB"


def told_seconds(value):
    if value == 0:
        return "0 s"
    if value >= 1:
        return f"{value:.2f} s"
    if value < 1e-5:
        return f"{value * 1e6:.1f} \u00b5s"
    return f"{value * 1000:.0f} ms" if value >= 0.1 else f"{value * 1000:.2f} ms"


def facts(tab):
    pairs = tab.locator("#total dt").all_inner_texts(), tab.locator("#total dd").all_inner_texts()
    return dict(zip(*pairs, strict=True))


def box(tab, key):
    return tab.locator(f'#picture [data-key="{key}"]')


def node_names(tab, selector=""):
    keys = tab.locator(f"#picture .node{selector}").evaluate_all("all => all.map((each) => each.dataset.key)")
    return {key.removeprefix("n:") for key in keys}


def details(tab):
    pairs = tab.locator("#details dt").all_inner_texts(), tab.locator("#details dd").all_inner_texts()
    return dict(zip(*pairs, strict=True))


def stage_named(shown, name):
    return next(index for index, each in enumerate(shown["graph"]["stages"]) if each["name"] == name)


def rows_of(shown, numbers):
    return {shown["graph"]["rows"][number]["name"]: shown["graph"]["rows"][number] for number in numbers}


def go_to(tab, index):
    tab.locator("#stage").select_option(str(index))


def contrast(one, other):
    """Return the contrast ratio of two CSS colours, as WCAG 2 defines it."""

    def luminance(colour):
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)
