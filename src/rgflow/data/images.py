"""`Images`: what every data set is once loaded.

Letters in shapes: N images, C channels, H rows (height), W columns (width).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rgflow.checks import check_name

Array: TypeAlias = NDArray[Any]
Pixels: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """Images of one size, with what is known about each.

    Raises:
        ValueError: If an array hasn't the type or shape promised here.

    >>> data = Images(name="grey", images=np.full((2, 1, 4, 4), 128, np.uint8))
    >>> len(data), data.images.shape, data.labels
    (2, (2, 1, 4, 4), {})
    """

    images: Array
    """[N, C, H, W], uint8 grey levels, or the float32 values of fields; normally a read-only
    memory map."""
    labels: dict[str, Array] = field(default_factory=dict)
    """By name, each [N, ...]; may be empty."""
    name: str
    """The name it was loaded by, such as `msds1`."""
    skipped: tuple[str, ...] = ()
    """Files that were left out, each with the reason."""
    folder: Path | None = None
    """Where they are stored."""
    numbers: tuple[int, ...] | None = None
    """Which images of the set's array they are; None where there is no such array."""
    files: tuple[str, ...] | None = None
    """The files they are in; None where not every image has its own."""
    seconds: float = 0.0
    """What making or decoding them took just now; 0 if that was done before."""

    def __post_init__(self) -> None:
        if self.images.dtype not in (np.uint8, np.float32) or self.images.ndim != 4:
            raise ValueError(
                "Expected images of type uint8 or float32 and of shape [N, C, H, W]; "
                f"got {self.images.dtype} of shape {list(self.images.shape)}."
            )
        for name, label in self.labels.items():
            if label.shape[:1] != (len(self),):
                raise ValueError(
                    f"Expected {len(self)} rows in label {name!r}, one per image; "
                    f"got shape {list(label.shape)}."
                )

    def classes(self, labels: int | Mapping[str, int]) -> Array | None:
        """The classes of each image, as conditions of a flow.

        Args:
            labels: As `FlowConfig.labels` has them. The label `hair` may also be called
                `hair_class` here.

        Returns:
            Whole numbers [N], or [N, K] where labels have names; none without labels.

        Raises:
            ValueError: If there is no such label, or not exactly one where it has no name.
        """
        if not labels:
            return None
        known = {
            name.removesuffix("_class"): x
            for name, x in self.labels.items()
            if x.ndim == 1 and np.issubdtype(x.dtype, np.integer)
        }
        if isinstance(labels, Mapping):
            for name in labels:
                check_name(f"a label of {self.name}", name, known)
            return np.stack([known[name] for name in labels], 1)
        if len(known) != 1:
            raise ValueError(
                f"Expected a data set with exactly one class label per image, as the flow has "
                f"labels; {self.name} has {len(known)}: name those that you mean, as in "
                f"--model.labels '{{hair: 10}}', or set --model.labels 0."
            )
        return next(iter(known.values()))

    def __len__(self) -> int:
        return len(self.images)
