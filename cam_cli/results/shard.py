"""Which images are whose when several machines share a run: an interval of the hash of an image's path."""

from __future__ import annotations

from dataclasses import dataclass

HASHES = 2**64
SHARD = r"(\.[0-9]+-of-[0-9]+)?"
"""A pattern of `Shard.suffix`."""


@dataclass(frozen=True)
class Shard:
    """Shard `index` of `count`, counted from 1; shard 1 of 1 is everything.

    An image belongs to a shard by the hash of its path relative to the root, so that a growing folder keeps its shards. Shards
    are intervals rather than remainders: two of them overlap exactly where their intervals do, whatever their counts.
    """

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str | None) -> Shard:
        """Return the shard that `I/N` names; None is everything."""
        return cls(*map(int, text.split("/"))) if text else cls()

    @property
    def suffix(self) -> str:
        """What the names of its own records carry: `.2-of-8`, or nothing when it is everything."""
        return f".{self.index}-of-{self.count}" if self.count > 1 else ""

    @property
    def interval(self) -> tuple[int, int]:
        """The hashes it owns, the first and the one after the last, within 0..HASHES."""
        return HASHES * (self.index - 1) // self.count, HASHES * self.index // self.count

    def owns(self, path_hash: int) -> bool:
        """Return True if an image whose path has this hash (0..HASHES - 1) is in this shard."""
        if self.count == 1:
            return True
        start, end = self.interval
        return start <= path_hash < end
