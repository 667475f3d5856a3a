"""A small stock ledger: what came in, what went out, and what has to be ordered again."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Inventory:
    """Counts of articles on the shelf, and the lowest count each article should have."""

    counts: Counter[str] = field(default_factory=Counter)
    minimum: dict[str, int] = field(default_factory=dict)

    def receive(self, article: str, quantity: int) -> None:
        """Put `quantity` pieces of `article` on the shelf."""
        if quantity <= 0:
            raise ValueError(f"quantity must be positive, not {quantity}")
        self.counts[article] += quantity

    def ship(self, article: str, quantity: int) -> None:
        """Take `quantity` pieces of `article` off the shelf."""
        if quantity <= 0:
            raise ValueError(f"quantity must be positive, not {quantity}")
        if self.counts[article] < quantity:
            raise ValueError(f"only {self.counts[article]} pieces of {article} left")
        

    def to_order(self) -> dict[str, int]:
        """How many pieces of each article are missing to its minimum."""
        return {
            article: minimum - self.counts[article]
            for article, minimum in self.minimum.items()
            if self.counts[article] < minimum
        }
