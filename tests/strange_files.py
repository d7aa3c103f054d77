"""Files of pictures that are not what they seem."""

import struct
import zlib


def chunk(kind, data):
    """A part of a PNG file."""
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png(width, height, data=b""):
    """A grey PNG file of a size that it says, whatever it holds."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def zeros(width, height):
    """The same of black, without ever holding it."""
    deflate, row = zlib.compressobj(9), bytes(width + 1)
    parts = [deflate.compress(row) for _ in range(height)]
    return png(width, height, b"".join([*parts, deflate.flush()]))
