"""HTML and SVG in which every value is escaped."""

from __future__ import annotations

from html import escape


class Markup(str):
    """Text that is markup already, and is not escaped again."""

    __slots__ = ()


def element(tag: str, *children: object, **attributes: object) -> Markup:
    """Return an element.

    Args:
        tag: Its name.
        children: What it holds. All but `Markup` is escaped; `None` and `False` are left out.
        attributes: Its attributes, "_" in their names written for "-"; a trailing "_" is left out, and so is an
            attribute that is `None` or `False`. `True` stands for an attribute without a value.
    """
    written = "".join(
        f" {name.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(str(value))}"')
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    return Markup(f"<{tag}{written}>{together(*children)}</{tag}>")


def together(*children: object) -> Markup:
    """Return markup one after the other."""
    return Markup(
        "".join(
            child if isinstance(child, Markup) else escape(str(child))
            for child in children
            if child is not None and child is not False
        )
    )
