"""Changes of files: what disks, broken transfers and people with bad intentions make of them."""

import re

from cases import CANARY, Random


def bits(content: bytes, random: Random) -> bytes:
    spoilt = bytearray(content)
    for at in random.integers(8 * len(content), size=random.integers(1, 9)):
        spoilt[at // 8] ^= 1 << (at % 8)
    return bytes(spoilt)


def few_bytes(content: bytes, random: Random) -> bytes:
    """Mostly at the start, where headers are."""
    spoilt = bytearray(content)
    near = min(len(content), int(10 ** random.uniform(1, 6)))
    for at in random.integers(near, size=random.integers(1, 5)):
        spoilt[at] = random.integers(256)
    return bytes(spoilt)


def block(content: bytes, random: Random) -> bytes:
    size = min(len(content), int(2 ** random.integers(2, 13)))
    at = int(random.integers(len(content) - size + 1))
    new = bytes(size) if random.random() < 0.5 else random.bytes(size)
    return content[:at] + new + content[at + size :]


def cut(content: bytes, random: Random) -> bytes:
    return content[: random.integers(len(content))]


def spliced(content: bytes, random: Random) -> bytes:
    """A piece twice, left out, moved, or of somewhere else."""
    a, b, c = sorted(random.integers(len(content) + 1, size=3).tolist())
    pieces = [
        content[:b] + content[a:],
        content[:a] + content[b:],
        content[:a] + content[b:c] + content[a:b] + content[c:],
        content[:a] + random.bytes(int(random.integers(1, 200))) + content[a:],
        content + content,
    ]
    return pieces[random.integers(len(pieces))]


NUMBERS = [
    b"-1", b"0", b"1e9", b"1e308", b"1000000000", b"2305843009213693952", b"4611686018427387904",
    b"18446744073709551616", b"65536", b"NaN", b"null", b'"x"', b"9" * 5000, b"[]", b"{}", b"true",
]  # fmt: skip
WORDS = [
    CANARY.encode(), f"{CANARY}.Map".encode(), b"os.system", b"\\u001b[31m", b"[/red]", b"../../x",
    b"coarse_to_fine", b"null", b"x" * 3000, b"*a", b"!!python/object/apply:os.system",
]  # fmt: skip


def claims(content: bytes, random: Random) -> bytes:
    """Another number, or another word, in the first of the file."""
    head, rest = content[: 1 << 14], content[1 << 14 :]
    number = random.random() < 0.7
    places = list(re.finditer(rb"\d+(\.\d+)?" if number else rb"[A-Za-z_]{2,}", head))
    if not places:
        return few_bytes(content, random)
    for found in sorted(
        random.choice(len(places), min(len(places), random.integers(1, 3)), replace=False).tolist(),
        reverse=True,
    ):
        place, others = places[found], NUMBERS if number else WORDS
        head = head[: place.start()] + others[random.integers(len(others))] + head[place.end() :]
    return head + rest


def binary_claims(content: bytes, random: Random) -> bytes:
    """Another number of 2, 4 or 8 bytes, either way around, near the start or the end."""
    size, order = (2, 4, 8)[random.integers(3)], ("little", "big")[random.integers(2)]
    values = [0, 1, (1 << 8 * size) - 1, 1 << (8 * size - 1), 1 << (8 * size - 2), 1 << 30, 65536]
    new = (values[random.integers(len(values))] % (1 << 8 * size)).to_bytes(size, order)
    at = int(random.integers(min(256, len(content))))
    at = len(content) - at if random.random() < 0.3 else at
    return content[:at] + new + content[at + size :]


def deep(content: bytes, random: Random) -> bytes:
    """Lists within lists, or many aliases, in the place of a value or of everything."""
    many = int(10 ** random.uniform(1.5, 5))
    ten = "".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 30))
    forms = [
        b"[" * many + b"]" * many,
        b'{"a":' * many + b"1" + b"}" * many,
        b"[" * many,
        f"a0: &a0 [1]\n{ten}".encode(),
        b"- " * many,
        b"-" * many,
    ]
    new = forms[random.integers(len(forms))]
    places = list(re.finditer(rb": *([^,:\n]+)", content[: 1 << 14]))
    if not places or random.random() < 0.3:
        return new
    place = places[random.integers(len(places))]
    return content[: place.start(1)] + new + content[place.end(1) :]


CHANGES = [bits, few_bytes, block, cut, spliced, binary_claims]
OF_TEXT = [claims, claims, deep]
"""And these of text; of other files `claims` too, as their headers hold text."""


def damaged(content: bytes, random: Random, *, text: bool = False) -> tuple[str, bytes]:
    """A change, by name, and what becomes of a file."""
    changes = CHANGES + (OF_TEXT if text else [claims])
    change = changes[random.integers(len(changes))]
    return change.__name__, change(content, random) if content else content
