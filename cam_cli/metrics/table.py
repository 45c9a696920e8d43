"""The table of all metrics, by group; `audit:`, the report and the tests read it."""

from typing import Final

from cam_cli.metrics import comparison, faithfulness, localisation, signals, stability
from cam_cli.metrics.metric import Metric

RUN_SHARES: Final = (
    Metric("failed", "share of the images that could not be explained, 0..1", "lower"),
    Metric("blank", "share of the maps that are blank, 0..1", "lower"),
)
GROUPS: Final[dict[str, tuple[Metric, ...]]] = {
    "run shares": RUN_SHARES,
    "localisation": localisation.METRICS,
    "signals": signals.METRICS,
    "classes": signals.CLASS_METRICS,
    "noise": signals.NOISE_METRICS,
    "faithfulness": faithfulness.METRICS,
    "stability": stability.METRICS,
    "comparison": comparison.METRICS,
}
METRICS: Final = {metric.name: metric for metrics in GROUPS.values() for metric in metrics}
BOUNDED: Final = tuple(metric.name for metric in METRICS.values() if metric.bounded)
"""What `audit:` can bound, by `max_` and `min_`."""
SUSPICIOUS: Final = {
    metric.name: metric.suspicious_above for metric in METRICS.values() if metric.suspicious_above is not None
}
"""A map with more than this of one of these metrics is suspicious."""
