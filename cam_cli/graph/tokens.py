"""How the tokens of a transformer lie on the image; it needs no TensorFlow, as model cards declare it."""

from pydantic import BaseModel, ConfigDict, Field


class Tokens(BaseModel):
    """How a transformer's tokens cover the image: `class_tokens` tokens of no position, then a grid of rows and columns."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    grid: tuple[int, int]
    class_tokens: int = Field(1, ge=0)
