"""Tables that are filled where a thing is defined, and looked up elsewhere."""

from __future__ import annotations

from typing import Any, Callable, Generic, Hashable, Iterator, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Table(Generic[K, V]):
    """A dict with a name, whose keys are given once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._rows: dict[K, V] = {}

    def register(self, key: K, value: V) -> V:
        """Add a row; the same key twice is an error, so that a rule stands in one place."""
        if key in self._rows:
            raise KeyError(f"{self.name}: {key!r} is already registered")
        self._rows[key] = value
        return value

    def rule(self, *keys: K) -> Callable[[V], V]:
        """Decorator: register the same value under each key."""

        def put(value: V) -> V:
            for key in keys:
                self.register(key, value)
            return value

        return put

    def replace(self, key: K, value: V) -> None:
        """Add a row, or change it."""
        self._rows[key] = value

    def remove(self, key: K) -> None:
        """Take a row out, if it is there."""
        self._rows.pop(key, None)

    def get(self, key: K, default: Any = None) -> Any:
        """The row, or the default."""
        return self._rows.get(key, default)

    def __getitem__(self, key: K) -> V:
        try:
            return self._rows[key]
        except KeyError:
            raise KeyError(f"{self.name}: nothing is registered for {key!r}") from None

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __iter__(self) -> Iterator[K]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def items(self) -> list[tuple[K, V]]:
        """All rows."""
        return list(self._rows.items())

    def __repr__(self) -> str:
        return f"<table {self.name}: {len(self)} rows>"
