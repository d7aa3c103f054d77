"""What the page of photographs asks for: a region of a picture, and how to compute."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from rgflow.photographs import damage


class Region(BaseModel):
    """A rectangle, by default the whole picture, and settings of what is computed of it.

    Attributes:
        top: First row.
        left: First column.
        height: Rows; all below by default.
        width: Columns; all to the right by default.
        mask: What is marked of the rectangle, a data URL; everything by default.
        temperature: Of detail that is drawn.
        levels: Number of the finest levels that are drawn anew.
        zoom: The page shows the picture reduced by 2^zoom.
        seed: Of the first draw.
        count: Number of draws.
        sensitivity: To damage, as for `rgflow.photographs.damage.find_damage`.
        factor: By which the picture is enlarged.
        grow: Pixels by which marks grow.
        seconds: How long each flow learns.
        down, across: From what is marked to the place to copy from, in rows and columns.
    """

    top: Annotated[int, Field(ge=0)] = 0
    left: Annotated[int, Field(ge=0)] = 0
    height: Annotated[int, Field(ge=1)] | None = None
    width: Annotated[int, Field(ge=1)] | None = None
    mask: str | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    levels: Annotated[int, Field(ge=1, le=12)] = 2
    zoom: Annotated[int, Field(ge=0, le=8)] = 0
    seed: Annotated[int, Field(ge=0, le=2**53)] = 0
    count: Annotated[int, Field(ge=1, le=6)] = 3
    sensitivity: Annotated[float, Field(ge=0, le=1)] = damage.SENSITIVITY
    factor: Literal[2, 4] = 2
    seconds: Annotated[float, Field(gt=0, le=3600)] = 30
    grow: Literal[-1, 1] = 1
    down: Annotated[int, Field(ge=-100_000, le=100_000)] = 0
    across: Annotated[int, Field(ge=-100_000, le=100_000)] = 0
