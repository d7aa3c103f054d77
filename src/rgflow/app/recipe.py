"""How an image was made, as Python that makes it again."""

import base64
import json
import zlib
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from rgflow.lattice import Mask


@dataclass(frozen=True, eq=False)
class Recipe:
    """Latents as the value of an expression, and what that is made from.

    Attributes:
        code: The expression, with {0}, {1} … where its sources stand.
        sources: Other latents.
        imports: Lines that it needs besides those of every script.
    """

    code: str
    sources: tuple["Recipe", ...] = ()
    imports: tuple[str, ...] = ()

    def script(self, model: str) -> str:
        """A script that writes the image to a file, by the model of that name or in that folder.

        Example:
            >>> drawn = Recipe("flow.draw_each([7], 0.9).to(torch.float64)")
            >>> print(Recipe("{0}.set((2, 0, 0, 1), 1.5)", (drawn,)).script("msds1-best"))
            import torch
            from rgflow import figures, load_flow
            <BLANKLINE>
            flow = load_flow("msds1-best")
            z1 = flow.draw_each([7], 0.9).to(torch.float64)
            z2 = z1.set((2, 0, 0, 1), 1.5)
            image = figures.picture(flow.decode(z2)[0])
            image.save("image.png")
        """
        steps = self._steps()
        names = {step: f"z{k}" for k, step in enumerate(steps, 1)}
        wanted = {line for step in steps for line in step.imports}
        imports = sorted({"import torch", *wanted}, key=lambda line: (line[:4] == "from", line))
        lines = [
            f"{names[step]} = {step.code.format(*(names[source] for source in step.sources))}"
            for step in steps
        ]
        return "\n".join(
            [
                *imports,
                "from rgflow import figures, load_flow",
                "",
                f"flow = load_flow({json.dumps(model, ensure_ascii=False)})",
                *lines,
                f"image = figures.picture(flow.decode({names[self]})[0])",
                'image.save("image.png")',
            ]
        )

    def _steps(self) -> list["Recipe"]:
        """All that it is made from, each once, and itself; what comes first is needed first."""
        steps: dict[Recipe, None] = {}
        waiting = [(self, False)]  # by hand, as a long session is deeper than Python's stack
        while waiting:
            recipe, sources_done = waiting.pop()
            if sources_done:
                steps.setdefault(recipe)
            elif recipe not in steps:
                waiting.append((recipe, True))
                waiting.extend((source, False) for source in reversed(recipe.sources))
        return list(steps)


ARRAYS = ("import base64", "import zlib", "import numpy as np")


def array(values: Tensor | Mask) -> str:
    """An array of bytes or bits as an expression of NumPy.

    Example:
        >>> found = eval(array(np.eye(8, dtype=bool)))
        >>> found.dtype, int(found.sum())
        (dtype('bool'), 8)
    """
    plain = np.asarray(values)
    packed = base64.b64encode(zlib.compress(np.ascontiguousarray(plain).tobytes(), 9)).decode()
    return (
        f'np.frombuffer(zlib.decompress(base64.b64decode("{packed}")), '
        f'"{plain.dtype.name}").reshape({", ".join(map(str, plain.shape))}).copy()'
    )
