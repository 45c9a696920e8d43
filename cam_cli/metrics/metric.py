"""What is known of a metric, whatever its value."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """A row of the table of metrics.

    name: in evaluation.json, in CSV, and after `max_` or `min_` in `audit:`. meaning: in one line, with its range. better:
    which values speak for the map or the run; None if neither. title: what the report calls it, if not by its name.
    suspicious_above: the report lists a map with more than this as suspicious. bounded: `audit:` may bound it.
    """

    name: str
    meaning: str
    better: Literal["higher", "lower"] | None = None
    title: str = ""
    suspicious_above: float | None = None
    bounded: bool = True
