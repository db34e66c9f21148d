"""A JSON object read strictly: a field is what it should be, or `FieldError` says which is not."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, TypeVar

Choice = TypeVar("Choice", bound=StrEnum)


class FieldError(Exception):
    """A field that is missing or is not what it should be."""


class Fields:
    """The fields of one JSON object; `where` names it in errors."""

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise FieldError(f"{where} is not an object")
        self._value: dict[str, Any] = value
        self._where = where

    def __contains__(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self._value.get(name) is not None

    def text(self, name: str) -> str:
        value = self._get(name)
        if not isinstance(value, str):
            raise self._error(name, "a text")
        return value

    def choice(self, name: str, choices: type[Choice]) -> Choice:
        try:
            return choices(self.text(name))
        except ValueError:
            raise self._error(name, f"one of {', '.join(choices)}") from None

    def whole(self, name: str) -> int:
        """A whole number from 0."""
        value = self._get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._error(name, "a whole number from 0")
        return value

    def number(self, name: str) -> float:
        """A number; JSON has none that is not finite."""
        return self._number(name, self._get(name))

    def numbers(self, name: str) -> list[float]:
        """A list of numbers."""
        return [self._number(name, value) for value in self.items(name)]

    def items(self, name: str) -> list[Any]:
        value = self._get(name)
        if not isinstance(value, list):
            raise self._error(name, "a list")
        return value

    def fields(self, name: str) -> Fields:
        """A nested object."""
        return Fields(self._get(name), f"{self._where}.{name}")

    def _get(self, name: str) -> Any:
        if name not in self._value:
            raise FieldError(f"{self._where} lacks {name!r}")
        return self._value[name]

    def _number(self, name: str, value: Any) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self._error(name, "a number")
        return float(value)

    def _error(self, name: str, expected: str) -> FieldError:
        return FieldError(f"{self._where}.{name} is not {expected}")
