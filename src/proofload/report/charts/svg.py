"""SVG drawn by hand: an element tree, so that nothing that a target said can become markup; colours are classes."""

from __future__ import annotations

from xml.etree import ElementTree

from proofload.core.text import visible

WIDTH = 860
"""Of every picture, in its own units; pages scale it or let it scroll."""
_CHARACTER = 7.0
"""About how wide a character of a label is."""
_MOST_LABEL = 120


class Svg:
    """A drawing of a fixed size that is read out as `says`."""

    def __init__(self, height: float, says: str, width: float = WIDTH) -> None:
        self.width, self.height = width, height
        self._root = ElementTree.Element(
            "svg",
            {
                "xmlns": "http://www.w3.org/2000/svg",
                "viewBox": f"0 0 {_number(width)} {_number(height)}",
                "role": "img",
                "class": "chart",
                "aria-label": visible(says, 600),
            },
        )

    def rect(
        self, x: float, y: float, width: float, height: float, look: str, tip: str = "", radius: float = 0
    ) -> None:
        """Draw a box; `tip` is told to who points at it."""
        extra = {"rx": _number(radius)} if radius else {}
        self._add("rect", look, tip, x=x, y=y, width=max(width, 0.5), height=max(height, 0.5), extra=extra)

    def line(self, x1: float, y1: float, x2: float, y2: float, look: str) -> None:
        """Draw a straight line."""
        self._add("line", look, x1=x1, y1=y1, x2=x2, y2=y2)

    def path(self, points: list[tuple[float, float]], look: str, tip: str = "", *, closed: bool = False) -> None:
        """Draw a line through points, or an area."""
        if points:
            d = "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in points) + ("Z" if closed else "")
            self._add("path", look, tip, extra={"d": d})

    def dot(self, x: float, y: float, radius: float, look: str, tip: str = "") -> None:
        """Draw a filled circle."""
        self._add("circle", look, tip, cx=x, cy=y, r=radius)

    def text(
        self, x: float, y: float, text: str, look: str = "label", anchor: str = "start", most: int = _MOST_LABEL
    ) -> None:
        """Write a label; what is in it can neither be markup nor hide itself."""
        element = self._add("text", look, x=x, y=y, extra={"text-anchor": anchor})
        element.text = visible(text, most)

    def markup(self) -> str:
        """Return the drawing as markup that is right inside HTML and as a file of its own."""
        return ElementTree.tostring(self._root, encoding="unicode")

    def _add(
        self, tag: str, look: str, tip: str = "", extra: dict[str, str] | None = None, **numbers: float
    ) -> ElementTree.Element:
        attributes = {"class": look, **{name: _number(value) for name, value in numbers.items()}, **(extra or {})}
        element = ElementTree.SubElement(self._root, tag, attributes)
        if tip:
            ElementTree.SubElement(element, "title").text = visible(tip, 300)
        return element


def width_of(text: str) -> float:
    """Return about how wide a label is."""
    return len(text) * _CHARACTER


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if value % 1 else f"{value:.0f}"
