"""The file that real editors complete with the default model: one method has no body."""

from __future__ import annotations

SOURCE = '''class Stock:
    """What lies in the warehouse: pieces per article."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def add(self, article: str, quantity: int) -> None:
        """Put `quantity` pieces of `article` into the stock."""
        self.counts[article] = self.counts.get(article, 0) + quantity

    def remove(self, article: str, quantity: int) -> None:
        """Take `quantity` pieces of `article` out of the stock."""

    def count(self, article: str) -> int:
        """How many pieces of `article` there are."""
        return self.counts.get(article, 0)
'''
