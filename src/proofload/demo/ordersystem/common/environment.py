"""Reading settings from the environment, with an error that says what was got and what was expected."""

from __future__ import annotations

from collections.abc import Mapping


class SettingError(Exception):
    """A setting has a value that can't be used. The message names it, what was got and what was expected."""


class Environment:
    """The environment of a service, read by type. Empty values count as absent."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def text(self, name: str, default: str) -> str:
        """Return the value of `name`, or the default."""
        return self._values.get(name) or default

    def whole(self, name: str, default: int, least: int = 0, most: int = 2**53) -> int:
        """Return a whole number between `least` and `most`."""
        raw = self._values.get(name)
        if not raw:
            return default
        expected = f"{name}: got {raw!r}, expected a whole number from {least} to {most}"
        try:
            value = int(raw)
        except ValueError:
            raise SettingError(expected) from None
        if not least <= value <= most:
            raise SettingError(expected)
        return value

    def seconds(self, name: str, default: float, least: float = 0.0) -> float:
        """Return a number of seconds, fractions allowed."""
        raw = self._values.get(name)
        if not raw:
            return default
        expected = f"{name}: got {raw!r}, expected a number of seconds, at least {least:g}, such as 0.5 or 60"
        try:
            value = float(raw)
        except ValueError:
            raise SettingError(expected) from None
        if not least <= value < 1e9:
            raise SettingError(expected)
        return value

    def one_of(self, name: str, choices: tuple[str, ...], default: str) -> str:
        """Return one of `choices`."""
        value = self._values.get(name) or default
        if value not in choices:
            raise SettingError(f"{name}: got {value!r}, expected one of {', '.join(choices)}")
        return value

    def switch(self, name: str, default: bool) -> bool:
        """Return a truth value: on or off."""
        return self.one_of(name, ("on", "off"), "on" if default else "off") == "on"

    def listed(self, name: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return the values of a list separated by commas."""
        raw = self._values.get(name)
        if not raw:
            return default
        return tuple(part.strip() for part in raw.split(",") if part.strip())
