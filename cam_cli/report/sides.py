"""Two runs over the same images, for the page: each image with both maps, both predictions and what became of it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from cam_cli.decoding.image import Decoded
from cam_cli.decoding.pool import DecoderPool
from cam_cli.evaluate.compare import Comparison, ImageChange, matched_maps
from cam_cli.evaluate.records import finite
from cam_cli.report.details import WORRIES, Details
from cam_cli.report.gather import Columns, Entry, best_of
from cam_cli.report.numbering import ClassNumbering
from cam_cli.report.thumbnails import Detail
from cam_cli.report.truth import TruthTotals, row_of_truth
from cam_cli.results.reader import ImageResult, RunReader

_COLUMNS: Final = ("correlation", "overlap", "shift")
_TITLES: Final = {
    "correlation": "correlation of A and B",
    "overlap": "overlap of A and B",
    "shift": "shift of the centre",
}


class Sides:
    """Goes through the images of a comparison, the largest change first; `closing` is asked for afterwards, as of a run.

    A row is that of run B, with `before` among what is known of its truth. A map in it is a pair: its numbers in the detail are
    those of A and of B.
    """

    def __init__(
        self, comparison: Comparison, before: RunReader, after: RunReader, folder: Path, amount: Detail
    ) -> None:
        self._changes = comparison.images
        self._before = before
        self._after = after
        self._most = amount.maps
        self._classes = ClassNumbering(across_models=True)
        self._details = Details(folder, amount, self._classes)
        self._columns = Columns(_COLUMNS)
        self._truth = TruthTotals()
        self.shown = 0

    def entries(self, decoders: DecoderPool, max_pixels: int, on_image: Callable[[], None]) -> Iterator[Entry]:
        """Yield the images in the order of the comparison, decoded up to `max_pixels`; call `on_image` after each."""
        earlier = {image.path: image for image in self._before.images()}
        later = {image.path: image for image in self._after.images()}
        changes = {change.path: change for change in self._changes if change.path in earlier and change.path in later}
        jobs = (later[path].decode_job for path in changes)
        for after, decoded in decoders.decode(jobs, self._details.decode_settings(max_pixels)):
            yield self._entry(changes[after.path], earlier[after.path], after, decoded)
            self.shown += 1
            on_image()

    def closing(self) -> dict[str, Any]:
        """Return what the rows and details refer to by number."""
        columns = self._columns.closing()
        return (
            columns
            | self._truth.closing()
            | {
                "titles": columns["titles"] | _TITLES,
                "kinds": self._details.kinds.values(),
                "settings": self._details.settings.values(),
                "classes": self._classes.values(),
                "totals": [],
                "sanity": None,
                "strategies": [],
                "evaluation": {},
                "measured": {},
                "images": self.shown,
            }
        )

    def _entry(self, change: ImageChange, before: ImageResult, after: ImageResult, decoded: Decoded) -> Entry:
        earlier, later = before.manifest.maps, after.manifest.maps
        numbers = [(earlier.index(one), later.index(other)) for one, other in matched_maps(earlier, later)]
        kinds = self._details.kinds_of(after)
        pairs: list[Any] = []
        for (one, other), pair in zip(numbers, change.maps, strict=True):
            values = self._columns.values({name: finite(getattr(pair, name)) for name in _COLUMNS})
            of = self._classes.number(later[other].target)
            pairs.append([kinds[other], WORRIES.index(later[other].state), of, values, [one, len(earlier) + other]])
        best_first = sorted(range(len(numbers)), key=lambda number: (pairs[number][1], _or_one(pairs[number][3][0])))
        shown = [numbers[number] for number in best_first[: self._most]]
        if not shown:  # other methods: the first map of each stands for the run
            shown = [(0, 0)]
        worst = 0 if after.manifest.status == "failed" else min((pair[1] for pair in pairs), default=len(WORRIES) - 1)
        told = row_of_truth(after.manifest, self._classes) or {"truth": [], "unknown": None}
        if not told["truth"]:
            told["truth"] = [[self._classes.number(one), None, None] for one in change.truth]
        told["correct"] = change.correct_after
        told["before"] = {
            "best": best_of(before.manifest, self._classes),
            "correct": change.correct_before,
            "changed": change.prediction_changed,
            "newlyBlank": change.newly_blank,
            "newlyFailed": change.newly_failed,
        }
        self._truth.add(self.shown, after.manifest.model_copy(update={"correct": change.correct_after}), self._classes)
        row = [after.path, worst, best_of(after.manifest, self._classes), pairs, told]
        maps = [
            *(
                one | {"side": "A"}
                for one in self._details.of_maps(before, decoded, [a for a, _ in shown if a < len(earlier)])
            ),
            *(
                one | {"side": "B"}
                for one in self._details.of_maps(after, decoded, [b for _, b in shown if b < len(later)])
            ),
        ]
        return Entry(row, self._detail(before, after, decoded) | {"maps": maps})

    def _detail(self, before: ImageResult, after: ImageResult, decoded: Decoded) -> dict[str, Any]:
        one, other = (self._details.of_image(image, decoded) for image in (before, after))
        errors = [detail["error"] | {"side": side} for side, detail in (("A", one), ("B", other)) if detail["error"]]
        model = one["model"] if one["model"] == other["model"] else f"A {one['model']}, B {other['model']}"
        both = {name: [one[name], other[name]] for name in ("predictions", "settings", "manifest")}
        return other | both | {"error": errors or None, "model": model, "size": other["size"] or one["size"]}


def _or_one(value: float | None) -> float:
    return 1.0 if value is None else value
