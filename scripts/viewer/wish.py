"""From the values of the style page to what is drawn."""

from typing import Any, NamedTuple

from scripts.viewer.studio import DRAWN, MASK, Order, Picture, painted_mask, preset, read_upload

NONE = "none"  # in place of a second style's name
RESERVED = {MASK, DRAWN}  # names of files that the page gives away


class Wish(NamedTuple):
    """The values of the controls, in their order."""

    content: str | None
    preset: str
    style: str | None
    strength: float
    size: int
    second: str
    second_style: str | None
    mask: str | None
    painting: dict[str, Any] | None


def order_of(wish: Wish) -> Order | None:
    """None without a photograph. `InputError` for what cannot be drawn."""
    if not wish.content:
        return None
    content, size, strength = apart(read_upload(wish.content), "photograph", RESERVED), int(wish.size), round(wish.strength, 4)
    style = chosen_style(wish.style, wish.preset, "style", RESERVED | {content.name})
    if wish.second == NONE:
        return Order(content, style, size, strength)
    second = chosen_style(wish.second_style, wish.second, "second", RESERVED | {content.name, style.name})
    if wish.mask:
        mask: Picture | None = apart(read_upload(wish.mask), "mask", {DRAWN, content.name, style.name, second.name})
    else:
        mask = painted_mask((wish.painting or {}).get("layers") or [], content.pixels, size)
    if mask is None:
        return Order(content, style, size, strength)  # nothing is painted yet
    return Order(content, style, size, strength, second, mask)


def chosen_style(upload: str | None, name: str, folder: str, taken: set[str]) -> Picture:
    """The upload goes before the one chosen by name."""
    return apart(read_upload(upload), folder, taken) if upload else preset(name)


def apart(picture: Picture, folder: str, taken: set[str]) -> Picture:
    """Where its name is taken, the command has the picture in a folder of its own."""
    return picture._replace(name=f"{folder}/{picture.name}") if picture.name in taken else picture
