"""What is open until it is closed, and closes itself at the end of a with-block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self


class Closing(ABC):
    """Is its own with-block: entering gives the object, leaving closes it."""

    @abstractmethod
    def close(self) -> None:
        """Free what is held."""

    def __enter__(self) -> Self:
        """Return what is open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()
