"""The table of all metrics, by group; `audit:`, the report and the tests read it."""

from typing import Final

from cam_cli.metrics import (
    classification,
    comparison,
    faithfulness,
    localisation,
    several_labels,
    signals,
    stability,
)
from cam_cli.metrics.metric import Metric

RUN_SHARES: Final = (
    Metric("failed", "share of the images that could not be explained, 0..1", "lower"),
    Metric("blank", "share of the maps that are blank, 0..1", "lower"),
)
GROUPS: Final[dict[str, tuple[Metric, ...]]] = {
    "run shares": RUN_SHARES,
    "classification": classification.METRICS,
    "several labels": several_labels.METRICS,
    "localisation": localisation.METRICS,
    "signals": signals.METRICS,
    "classes": signals.CLASS_METRICS,
    "noise": signals.NOISE_METRICS,
    "faithfulness": faithfulness.METRICS,
    "stability": stability.METRICS,
    "comparison": comparison.METRICS,
    "comparison of right and wrong": comparison.TRUTH_METRICS,
}
JUDGES: Final[dict[str, dict[str, str]]] = {
    "run shares": {"explain": "", "evaluate": ""},
    "classification": {"explain": "--truth", "evaluate": "--truth"},
    "several labels": {"explain": "--truth", "evaluate": "--truth"},
    "localisation": {"evaluate": "--annotations"},
    "faithfulness": {"evaluate": "--faithfulness"},
    "stability": {"evaluate": "--stability"},
    "comparison": {"compare": ""},
    "comparison of right and wrong": {"compare": "--truth"},
}
"""By group, the commands that judge bounds of its metrics, each with the option it needs for that; other groups: evaluate."""

METRICS: Final = {metric.name: metric for metrics in GROUPS.values() for metric in metrics}
GROUP_OF: Final = {metric.name: group for group, metrics in GROUPS.items() for metric in metrics}


def judges_of(metric: str) -> dict[str, str]:
    """Return the commands that judge bounds of a metric, each with the option that it needs for that, or nothing."""
    return JUDGES.get(GROUP_OF[metric], {"evaluate": ""})


BOUNDED: Final = tuple(metric.name for metric in METRICS.values() if metric.bounded)
"""What `audit:` can bound, by `max_` and `min_`."""
SUSPICIOUS: Final = {
    metric.name: metric.suspicious_above for metric in METRICS.values() if metric.suspicious_above is not None
}
"""A map with more than this of one of these metrics is suspicious."""
