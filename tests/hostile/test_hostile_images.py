"""A run over images that were made to do harm: each ends as a result or as a record, in bounded memory and with nothing but our
own words on stderr."""

from __future__ import annotations

import functools
import io
import json
import random
import struct
import sys
import threading
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from launcher import Launcher
from PIL import Image, ImageCms

SEED = 4
MAX_PIXELS = 20_000_000

MIB = 2**20
MOST_OF_A_DECODER = 32 * MAX_PIXELS + 128 * MIB
"""Resident bytes: the picture in up to 4 bytes a pixel and in the few other forms that it passes through, the widest of them
64-bit floats; and 128 MiB for Python, NumPy, Pillow, the file, and what else the file claims to hold."""

MOST_ADDRESSES = 2**30 + 24 * MAX_PIXELS + MIB
"""Bytes of address space: what the kernel grants a decoder, so that no image can exhaust the machine, and some rounding."""

MOST_OF_THE_RUN = 1024 * MIB
"""Resident bytes of the process that holds the network: TensorFlow takes some 700 MiB."""

MOST_GROWTH_OF_THE_RUN = 128 * MIB
"""Resident bytes that it may take on top once it has explained an image: for the few photos that wait for it, at most
1024 x 1024 pixels by then, and one's pictures. One photo of MAX_PIXELS decoded there would need more."""

ENDINGS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif"}
Draw = random.Random


@dataclass(frozen=True)
class Hostile:
    """A file, and the status it must end with; None: either."""

    format: str
    data: bytes
    status: str | None = None


# --- seeds: well-formed images of every format


def _photo(mode: str, size: tuple[int, int] = (67, 45)) -> Image.Image:
    coarse = np.random.default_rng(SEED).integers(0, 256, (6, 8, 4), np.uint8)
    photo = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    if mode == "I;16":
        return Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)
    return photo if mode == "RGBA" else photo.convert("RGB").convert(mode)


def _saved(format_: str, mode: str = "RGB", size: tuple[int, int] = (67, 45), **options: Any) -> bytes:
    buffer = io.BytesIO()
    _photo(mode, size).save(buffer, format_, **options)
    return buffer.getvalue()


@functools.cache
def seeds() -> dict[str, list[bytes]]:
    frames = [_photo("P").rotate(90 * turn) for turn in (1, 2)]
    moving: dict[str, Any] = {"save_all": True, "append_images": frames}
    colour = [_photo("RGB").rotate(90 * turn) for turn in (1, 2)]
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return {
        "JPEG": [
            _saved("JPEG"),
            _saved("JPEG", progressive=True, quality=95, subsampling=0),
            _saved("JPEG", "L", restart_marker_blocks=2),
            _saved("JPEG", "CMYK", exif=_exif(6)),
            _saved("JPEG", icc_profile=profile, exif=_exif(3)),
            _saved("MPO", save_all=True, append_images=colour),
        ],
        "PNG": [
            _saved("PNG"),
            _saved("PNG", "RGBA"),
            _saved("PNG", "P", transparency=3),
            _saved("PNG", "1"),
            _saved("PNG", "I;16", icc_profile=profile),
            _saved("PNG", "LA", exif=_exif(8)),
            _saved("PNG", save_all=True, append_images=colour),
        ],
        "WEBP": [
            _saved("WEBP"),
            _saved("WEBP", "RGBA", lossless=True),
            _saved("WEBP", "RGBA", exif=_exif(5), icc_profile=profile),
            _saved("WEBP", save_all=True, append_images=colour),
        ],
        "GIF": [_saved("GIF", "P"), _saved("GIF", "L", interlace=0), _saved("GIF", "P", transparency=1, **moving)],
        "BMP": [_saved("BMP"), _saved("BMP", "P"), _saved("BMP", "1"), _saved("BMP", "RGBA"), _rle_bmp()],
        "TIFF": [
            _saved("TIFF"),
            _saved("TIFF", "RGBA", compression="tiff_lzw"),
            _saved("TIFF", "CMYK", compression="tiff_adobe_deflate", icc_profile=profile),
            _saved("TIFF", "1", compression="group4"),
            _saved("TIFF", compression="jpeg"),
            _saved("TIFF", "I;16"),
            _saved("TIFF", "F"),
            _saved("TIFF", "P", compression="packbits", save_all=True, append_images=frames),
        ],
    }


def _rle_bmp() -> bytes:
    lines = b"".join(bytes([67, line % 256, 0, 0]) for line in range(45)) + b"\0\1"
    palette = b"".join(bytes([i, 255 - i, i // 2, 0]) for i in range(256))
    header = struct.pack("<IiiHHIIiiII", 40, 67, 45, 1, 8, 1, len(lines), 0, 0, 256, 0)
    start = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(lines), 0, 0, start) + header + palette + lines


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def _any_seed(draw: Draw) -> tuple[str, bytes]:
    format_ = draw.choice(list(ENDINGS))
    return format_, draw.choice(seeds()[format_])


# --- mutations


def whole(draw: Draw) -> Hostile:
    return Hostile(*_any_seed(draw), "ok")


def misnamed(draw: Draw) -> Hostile:
    format_, data = _any_seed(draw)
    return Hostile(draw.choice([other for other in ENDINGS if other != format_]), data, "ok")


def cut(draw: Draw) -> Hostile:
    format_, data = _any_seed(draw)
    return Hostile(format_, data[: draw.randrange(len(data))])


def flipped(draw: Draw) -> Hostile:
    format_, data = _any_seed(draw)
    changed = bytearray(data)
    reach = draw.choice([64, len(data)])
    for _ in range(2 ** draw.randrange(8)):
        changed[draw.randrange(min(reach, len(data)))] ^= 1 << draw.randrange(8)
    return Hostile(format_, bytes(changed))


def spliced(draw: Draw) -> Hostile:
    format_, data = _any_seed(draw)
    _, other = _any_seed(draw) if draw.random() < 0.5 else (format_, draw.choice(seeds()[format_]))
    at, start = draw.randrange(len(data)), draw.randrange(len(other))
    insert = other[start : start + draw.choice([4, 64, len(other)])]
    skipped = draw.choice([0, len(insert), len(data)])
    return Hostile(format_, data[:at] + insert + data[at + skipped :])


def overwritten(draw: Draw) -> Hostile:
    """Counts, sizes and offsets at their extremes, wherever they may be."""
    format_, data = _any_seed(draw)
    at = draw.randrange(min(len(data), draw.choice([128, len(data)])))
    extreme = draw.choice([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0" * 64, b"\xff\xff"])
    return Hostile(format_, data[:at] + extreme + data[at + len(extreme) :])


def _chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    right = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", right if crc is None else crc)


def _png(width: int, height: int, depth: int, colour: int, *between: bytes, pixels: bytes = b"\0" * 2**16) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [_chunk(b"IHDR", header), *between, _chunk(b"IDAT", zlib.compress(pixels, 1)), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += length + 12
    return found


def _tiff(entries: list[tuple[int, int, int, int]], rest: bytes = b"", following: int = 0) -> bytes:
    """One directory of (tag, type, count, value or offset), little-endian, then `rest`."""
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + struct.pack("<I", following) + rest


def _plain_tiff(width: int, height: int, strip: bytes, compression: int = 1, following: int = 0) -> bytes:
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, compression), (262, 3, 1, 1),
        (273, 4, 1, 8 + 2 + 9 * 12 + 4), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, len(strip)),
    ]  # fmt: skip
    return _tiff(entries, strip, following)


def _sized(format_: str, width: int, height: int) -> bytes:
    """An image whose header claims a size that its pixels do not have."""
    data = bytearray(seeds()[format_][0])
    if format_ == "PNG":
        return _png(width, height, 8, 2)
    if format_ == "TIFF":
        return _plain_tiff(width, height, b"\0" * 64)
    if format_ == "BMP":
        struct.pack_into("<ii", data, 18, width, height)
    elif format_ == "GIF":
        struct.pack_into("<HH", data, 6, width, height)
    elif format_ == "WEBP":
        struct.pack_into("<HH", data, 26, width, height)
    else:
        start = data.index(b"\xff\xc0")
        struct.pack_into(">HH", data, start + 5, height, width)
    return bytes(data)


_MOST = {"PNG": 2**31 - 1, "TIFF": 2**31 - 1, "BMP": 2**31 - 1, "GIF": 2**16 - 1, "JPEG": 2**16 - 1, "WEBP": 2**14 - 1}


def huge(draw: Draw) -> Hostile:
    format_ = draw.choice(list(_MOST))
    most = _MOST[format_]
    width = draw.choice([most, 1, 7919, draw.randrange(1, most)])
    height = min(most, MAX_PIXELS // width + draw.choice([1, 100, most]))
    if width * height <= MAX_PIXELS:
        width = height = most
    return Hostile(format_, _sized(format_, width, height), "failed")


def empty(draw: Draw) -> Hostile:
    format_ = draw.choice([*ENDINGS])
    kind = draw.randrange(3)
    if kind == 0:
        return Hostile(format_, draw.choice([b"", b"\0", b"\0" * 4096, seeds()[format_][0][:12]]), "failed")
    width, height = draw.choice([(0, 0), (0, 45), (67, 0)])
    # A GIF's frames extend its canvas; pixels of no size are no pixels anywhere else.
    return Hostile(format_, _sized(format_, width, height), None if format_ == "GIF" else "failed")


SIDE = 4400
"""Of the largest images that are allowed."""


@functools.cache
def _zeros() -> bytes:
    return zlib.compress(bytes(100 * MIB), 1)


def _solid(format_: str, mode: str, colour: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (SIDE, SIDE), colour).save(buffer, format_, **options)
    return buffer.getvalue()


def _many_frames() -> bytes:
    return seeds()["GIF"][0][:-1] + 20_000 * b"\x2c\0\0\0\0\1\0\1\0\0\2\2\x44\1\0" + b"\x3b"


LARGE: tuple[Callable[[], Hostile], ...] = (
    lambda: Hostile("PNG", _png(SIDE, SIDE, 8, 0, pixels=bytes((SIDE + 1) * SIDE)), "ok"),
    lambda: Hostile("PNG", _png(14_000, 14_000, 1, 0, pixels=bytes(1751 * 14_000)), "failed"),
    lambda: Hostile("PNG", _png(64, 64, 8, 2, *[_chunk(b"zTXt", b"x\0\0" + _zeros())] * 5)),
    lambda: Hostile("TIFF", _plain_tiff(64, 64, _zeros(), compression=8)),
    lambda: Hostile("PNG", _png(64, 64, 8, 2, _chunk(b"iCCP", b"x\0\0" + _zeros()))),
    lambda: Hostile("GIF", _many_frames()),
    lambda: Hostile("JPEG", _solid("JPEG", "CMYK", "teal"), "ok"),
    lambda: Hostile("TIFF", _solid("TIFF", "F", 0.5, compression="tiff_adobe_deflate"), "ok"),
    lambda: Hostile("PNG", _png(64, 64, 8, 2, pixels=bytes(100 * MIB)), "ok"),
    lambda: Hostile("PNG", _png(SIDE, SIDE, 16, 6, pixels=bytes((SIDE * 8 + 1) * SIDE)), "ok"),
    lambda: Hostile("JPEG", _solid("JPEG", "RGB", "teal", progressive=True), "ok"),
    lambda: Hostile("WEBP", _solid("WEBP", "RGBA", (0, 99, 0, 99), lossless=True), "ok"),
    lambda: Hostile("GIF", _solid("GIF", "P", 9), "ok"),
    lambda: Hostile("BMP", _solid("BMP", "1", 1), "ok"),
)
"""Small files that become large, up to what is allowed, or hold more than they say, or claim to."""


def _hostile_exif(draw: Draw) -> bytes:
    """The body of an EXIF block that no camera wrote."""
    count = draw.choice([0, 1, 2**16, 2**31, 2**32 - 1])
    value = draw.choice([0, 8, 9, 2**16 - 1, 2**32 - 1])
    return draw.choice(
        [
            _tiff([(0x0112, draw.choice([0, 1, 2, 3, 4, 5, 7, 9, 12, 13, 99]), count, value)]),
            _tiff([(0x0112, 5, 1, 26)], struct.pack("<II", 6, 0)),
            _tiff([(0x0112, 2, 2, 0x37)]),
            _tiff([(0x0112, 3, 1, value)], following=8),
            _tiff([(0x8769, 4, 1, 8), (0x8825, 4, 1, 8), (0xA005, 4, 1, 8)]),
            _tiff([(0x927C, 7, 2**32 - 1, 8)] * draw.choice([1, 400])),
            _tiff([(draw.randrange(2**16), draw.randrange(16), count, value) for _ in range(draw.choice([1, 50]))]),
            b"MM\0*" + struct.pack(">IH", 8, 2**16 - 1) + draw.randbytes(300),
            b"II+\0" + draw.randbytes(100),
            draw.randbytes(draw.randrange(400)),
        ]
    )


def exif(draw: Draw) -> Hostile:
    body = _hostile_exif(draw)
    format_ = draw.choice(["JPEG", "PNG", "WEBP", "TIFF"])
    if format_ == "JPEG":
        data = draw.choice(seeds()["JPEG"])
        block = b"Exif\0\0" + body
        return Hostile(format_, data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:], "ok")
    if format_ == "PNG":
        return Hostile(format_, _saved("PNG")[:33] + _chunk(b"eXIf", body) + _saved("PNG")[33:], "ok")
    if format_ == "WEBP":
        return Hostile(format_, _saved("WEBP", exif=body or b"\0"), "ok")
    strip = bytes(64 * 64)
    return Hostile(
        "TIFF",
        draw.choice(
            [
                body,
                _plain_tiff(64, 64, strip, following=8),
                _plain_tiff(64, 64, strip, following=2**32 - 1),
                _plain_tiff(64, 64, strip[:9]),
                _plain_tiff(64, 64, strip, compression=draw.choice([2, 3, 4, 5, 6, 7, 8, 32773, 34712, 50000, 50001])),
                _tiff([(tag, 4, 2**28, 8) for tag in (256, 257, 258, 273, 279)]),
                _tiff([(256, 4, 1, 64), (257, 4, 1, 64), (273, 4, 2**28, 8), (279, 4, 2**28, 8), (262, 3, 1, 1)]),
                _plain_tiff(64, 64, strip)[:-4],
            ]
        ),
    )


def icc(draw: Draw) -> Hostile:
    right = ImageCms.ImageCmsProfile(ImageCms.createProfile(draw.choice(["sRGB", "LAB", "XYZ"]))).tobytes()
    changed = bytearray(right)
    for _ in range(2 ** draw.randrange(7)):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    tags = right[:128] + struct.pack(">I", 2**32 - 1) + right[132:]
    profile = draw.choice(
        [
            right,
            bytes(changed),
            right[: draw.randrange(1, len(right))],
            tags,
            draw.randbytes(draw.choice([1, 128, 60_000])),
        ]
    )
    format_, mode = draw.choice(
        [
            ("JPEG", "RGB"),
            ("JPEG", "CMYK"),
            ("JPEG", "L"),
            ("PNG", "RGB"),
            ("WEBP", "RGB"),
            ("TIFF", "CMYK"),
            ("TIFF", "RGB"),
        ]
    )
    return Hostile(format_, _saved(format_, mode, icc_profile=profile), "ok")


ODD_CHUNKS = (
    b"tRNS", b"PLTE", b"gAMA", b"cHRM", b"pHYs", b"acTL", b"fcTL", b"fdAT", b"iCCP", b"iTXt", b"tEXt", b"IHDR", b"IEND",
    b"eXIf", b"sRGB", b"XXXX", b"\xff\0\n~",
)  # fmt: skip


def chunks(draw: Draw) -> Hostile:
    """PNGs whose chunks are too many, too few, in the wrong order, or absurd in themselves."""
    found = [_chunk(*chunk) for chunk in _png_chunks(draw.choice(seeds()["PNG"]))]
    at = draw.randrange(len(found))
    kind = draw.choice(ODD_CHUNKS)
    odd = _chunk(
        kind, draw.choice([b"", b"\0", b"\xff" * 26, draw.randbytes(draw.randrange(5000)), b"x\0\0" + b"\xff" * 50])
    )
    what = draw.randrange(8)
    if what == 0:
        found.insert(at, odd)
    elif what == 1:
        found[1:1] = [odd] * draw.choice([2, 1000])
    elif what == 2:
        found.pop(at)
    elif what == 3:
        draw.shuffle(found)
    elif what == 4:
        found[at] = draw.choice([b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\0\0\0\0"]) + found[at][4:]
    elif what == 5:
        found[at] = found[at][:-4] + draw.randbytes(4)
    elif what == 6:
        header = struct.pack(">IIBBBBB", 67, 45, *(draw.choice([0, 1, 2, 3, 6, 8, 16, 255]) for _ in range(5)))
        found[0] = _chunk(b"IHDR", header)
    else:
        found[at:at] = found[at : at + 1] * draw.choice([1, 50])
    return Hostile("PNG", b"\x89PNG\r\n\x1a\n" + b"".join(found))


@functools.cache
def _no_images() -> tuple[bytes, ...]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.jpg", seeds()["JPEG"][0])
    other_formats = [_saved(name) for name in ("PCX", "TGA", "SGI", "PDF", "EPS", "DDS", "ICO")]
    texts = [
        b"<!DOCTYPE html><p>404",
        b"\x1b]0;hi\x07\x1b[2J\n",
        b"GIF89a",
        b"\xff\xd8\xff",
        "né\n".encode("utf-16"),
        b"%s%n{0}",
    ]
    return archive.getvalue(), zlib.compress(b"pixels"), bytes(range(256)), *other_formats, *texts


def no_image(draw: Draw) -> Hostile:
    return Hostile(draw.choice(list(ENDINGS)), draw.choice(_no_images()), "failed")


MUTATIONS: dict[Callable[[Draw], Hostile], int] = {
    flipped: 20, cut: 14, spliced: 12, overwritten: 12, chunks: 10, exif: 10, icc: 6, huge: 6, empty: 4, no_image: 4,
    whole: 3, misnamed: 3,
}  # fmt: skip


def make(folder: Path, count: int, large: int) -> dict[str, Hostile]:
    """Write so many hostile images, `large` of them large ones, and return what they are by file name."""
    folder.mkdir()
    draw = Draw(SEED)
    made = {}
    mutations, weights = list(MUTATIONS), list(MUTATIONS.values())
    for number in range(count):
        if (number + 1) % (count // large) == 0:
            kind, hostile = "large", LARGE[number // (count // large) % len(LARGE)]()
        else:
            # Each in turn at first, so that a short run has them all.
            in_turn = number < 3 * len(mutations)
            mutation = mutations[number % len(mutations)] if in_turn else draw.choices(mutations, weights)[0]
            kind, hostile = mutation.__name__, mutation(draw)
        name = f"{number:04}-{kind}.{ENDINGS[hostile.format]}"
        (folder / name).write_bytes(hostile.data)
        made[name] = hostile
    return made


# --- the run, watched


class Watch(threading.Thread):
    """The largest amounts of memory that a process and its decoders ever had, as the kernel keeps them."""

    def __init__(self, pid: int, rows: Path) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._rows = rows
        self._over = threading.Event()
        self.of_the_run = 0
        self.of_the_run_at_first = 0
        self.of_a_decoder = 0
        self.addresses_of_a_decoder = 0
        self.start()

    def run(self) -> None:
        while not self._over.wait(0.01):
            self.of_the_run = max(self.of_the_run, self._bytes(self._pid, "VmHWM"))
            if not self.of_the_run_at_first and b'"status": "ok"' in self._rows.read_bytes():
                self.of_the_run_at_first = self.of_the_run
            for pid in self._children():
                self.of_a_decoder = max(self.of_a_decoder, self._bytes(pid, "VmHWM"))
                self.addresses_of_a_decoder = max(self.addresses_of_a_decoder, self._bytes(pid, "VmPeak"))

    def stop(self) -> None:
        self._over.set()
        self.join()

    def _children(self) -> Iterator[int]:
        for task in Path(f"/proc/{self._pid}/task").glob("*/children"):
            with suppress(OSError):
                for pid in map(int, task.read_text().split()):
                    with suppress(OSError):
                        # Until it has become a decoder, its memory is its parent's.
                        if b"cam_cli.decoding.child" in Path(f"/proc/{pid}/cmdline").read_bytes():
                            yield pid

    @staticmethod
    def _bytes(pid: int, entry: str) -> int:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith(entry):
                    return int(line.split()[1]) * 1024
        return 0


@dataclass(frozen=True)
class Ran:
    code: int
    rows: dict[str, dict[str, Any]]
    said: list[str]
    watch: Watch


def explain(launcher: Launcher, folder: Path, out: Path, model: Path, *flags: str) -> Ran:
    settings = ["--model", model, "-o", out, "--max-pixels", MAX_PIXELS, "--json", *flags]
    stdout = folder.with_suffix(".out")
    stdout.touch()
    command = launcher.start("explain", folder, *settings, stdout=str(stdout))
    watch = Watch(command.pid, stdout)
    code = command.ended(1200)
    watch.stop()
    rows = [json.loads(line) for line in stdout.read_text("ascii").splitlines()]
    assert len({row["path"] for row in rows}) == len(rows)
    said = command.stderr.read_bytes().decode().removesuffix("\n").split("\n")
    return Ran(code, {row["path"]: row for row in rows}, said, watch)


def check(ran: Ran, made: dict[str, Hostile], folder: Path, out: Path) -> None:
    check_streams(ran, folder)
    check_records(ran, made, out)
    wrong = {
        name: ran.rows[name]["error"]
        for name, hostile in made.items()
        if hostile.status not in {None, ran.rows[name]["status"]}
    }
    assert not wrong
    if Path("/proc/self/status").exists():
        check_memory(ran.watch)


def check_memory(watch: Watch) -> None:
    assert 0 < watch.of_a_decoder <= MOST_OF_A_DECODER
    assert 0 < watch.addresses_of_a_decoder <= MOST_ADDRESSES
    assert 0 < watch.of_the_run <= MOST_OF_THE_RUN
    assert watch.of_the_run - watch.of_the_run_at_first <= MOST_GROWTH_OF_THE_RUN


def check_streams(ran: Ran, folder: Path) -> None:
    failed = {name: row["error"] for name, row in ran.rows.items() if row["status"] == "failed"}
    assert ran.code == (3 if failed else 0)
    assert all(line.startswith("smoothcam: ") and line.isprintable() for line in ran.said), "our words alone"
    for name, error in failed.items():
        assert f"smoothcam: {folder / name}: {error['message']}" in ran.said, "each failure is told"


def check_records(ran: Ran, made: dict[str, Hostile], out: Path) -> None:
    """Every image has its row and its manifest, which agree; nothing else is there."""
    assert {entry.name for entry in out.iterdir()} - {"sheet.jpg"} == {".lock", "run.json", "index.jsonl", *made}
    indexed = [json.loads(line) for line in (out / "index.jsonl").read_text("ascii").splitlines()]
    assert sorted(row["path"] for row in indexed) == sorted(made) == sorted(ran.rows)
    for row in indexed:
        manifest = json.loads((out / row["path"] / "manifest.json").read_bytes())
        told = ran.rows[row["path"]]
        assert manifest["status"] == row["status"] == told["status"]
        assert manifest["error"] == row["error"] == told["error"]
        artefacts = {name for entry in row["maps"] for name in entry["files"].values() if name}
        artefacts |= {entry["file"] for entry in row["joint"]}
        assert {entry.name for entry in (out / row["path"]).iterdir()} == artefacts | {"manifest.json"}
        if row["status"] == "ok":
            assert artefacts
            assert row["error"] is None
        else:
            assert row["status"] == "failed"
            assert row["error"].keys() == {"stage", "type", "message"}
            assert row["error"]["stage"] in {"read", "decode", "fit"}
            assert all(text and text.isprintable() and text == text.strip() for text in row["error"].values())
    run = json.loads((out / "run.json").read_bytes())
    statuses = Counter(row["status"] for row in indexed)
    assert run["state"] == "finished"
    assert (run["totals"]["explained"], run["totals"]["failed"]) == (statuses["ok"], statuses["failed"])


def summary(ran: Ran) -> str:
    """What a closing note wants to know; shown by `pytest -s`."""
    types = Counter(row["error"]["type"] if row["error"] else "ok" for row in ran.rows.values())
    kinds = Counter((name.split("-")[1].split(".")[0], row["status"]) for name, row in ran.rows.items())
    watch = ran.watch
    memory = {name: size // MIB for name, size in vars(watch).items() if name.startswith(("of_", "addresses"))}
    return f"{dict(types)}; MiB: {memory}; {dict(sorted(kinds.items()))}\n"


@pytest.mark.parametrize(
    ("count", "large"), [(120, 4), pytest.param(2000, 28, marks=pytest.mark.long)], ids=["quick", "long"]
)
def test_every_hostile_image_is_a_result_or_a_record(
    tmp_path: Path, model_file: Path, launcher: Launcher, count: int, large: int
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    made = make(folder, count, large)
    ran = explain(launcher, folder, out, model_file, "--write", "raw")
    sys.stderr.write(summary(ran))
    check(ran, made, folder, out)


@pytest.mark.parametrize(
    ("count", "large"), [(36, 2), pytest.param(200, 14, marks=pytest.mark.long)], ids=["quick", "long"]
)
def test_their_pictures_and_the_sheet_do_no_harm_either(
    tmp_path: Path, model_file: Path, launcher: Launcher, count: int, large: int
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    made = make(folder, count, large)
    ran = explain(
        launcher, folder, out, model_file, "--write", "raw,heatmap,overlay,joint", "--target", "top2", "--sheet"
    )
    sys.stderr.write(summary(ran))
    check(ran, made, folder, out)
    with Image.open(out / "sheet.jpg") as sheet:
        sheet.load()
