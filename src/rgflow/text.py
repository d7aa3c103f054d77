"""Text from outside, such as names of files and columns, as it may be shown."""

import re

HIDDEN = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, ends of lines, changes of the direction of writing, and surrogates."""


def printable(text: str) -> str:
    r"""Text in one line that no terminal takes for commands, and no encoding refuses.

    What is hidden stands as Python writes it; letters, accents and emoji stay as they are.

    Example:
        >>> print(printable("Größe [\x1b[31mcm]\n"))
        Größe [\x1b[31mcm]\n
    """
    return HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
