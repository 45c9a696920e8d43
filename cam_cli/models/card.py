"""Model cards: what a model file does not say about itself. The bundled models have cards of the same format."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from cam_cli.graph.tokens import Tokens
from cam_cli.images.fit import Preprocessing
from cam_cli.yaml_source import read_yaml


class InputCard(BaseModel):
    """How an image becomes the network's input: (x - mean) / std on values from 0 to 255, in `channels` order.

    A card without `channels` means `grey`, `rgba` or `bands` if the model takes 1, 4 or another number of channels than 3.
    `bands` are the values in a TIFF file, and mean and std are in their unit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: tuple[int, int] | None = Field(None, description="rows and columns; the model's own when left out")
    fit: Literal["stretch", "crop", "letterbox"] = "stretch"
    channels: Literal["rgb", "bgr", "rgba", "grey", "bands"] = "rgb"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    resample: Literal["bilinear", "bicubic", "lanczos"] = "bicubic"
    crop_fraction: float = Field(0.875, gt=0, le=1)

    def preprocessing(self) -> Preprocessing:
        """Return the same without the size."""
        return Preprocessing(**self.model_dump(exclude={"size"}))


class ModelCard(BaseModel):
    """A YAML file beside the model: `model.yaml` beside `model.keras`.

    It may come from a stranger, so it can only name files in its own folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    summary: str = ""
    input: InputCard = InputCard()
    labels: Path | None = Field(None, description="CSV with a column `name`, or one name a line")
    layer: str | None = Field(None, description="the layer that `auto` takes")
    tokens: Tokens | None = Field(None, description="of a vision transformer; inferred where only one way is possible")
    licence: str = ""
    source: str = ""
    sha256: str | None = Field(None, description="of the model file; another file is refused")

    @field_validator("labels")
    @classmethod
    def _beside_the_card(cls, labels: Path | None) -> Path | None:
        if labels and (labels.is_absolute() or ".." in labels.parts):
            raise ValueError("must be a file beside the card or below it; copy it there, or name it with --labels")
        return labels


def read_card(path: Path) -> ModelCard:
    """Read a card; raises ConfigError with file, line and column."""
    card = read_yaml(path, ModelCard)
    labels = card.labels and path.parent / card.labels
    return card.model_copy(update={"labels": labels})
