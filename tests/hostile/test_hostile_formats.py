"""Mutated files of the formats that extras read, and of arrays: each ends as an image or as one line, within limits."""

from __future__ import annotations

import io
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cam_cli.decoding.image import Decoded, DecodeSettings
from cam_cli.decoding.pool import DecoderPool
from cam_cli.images.fit import Preprocessing

pytestmark = pytest.mark.pure

MAX_PIXELS = 1_000_000
RNG = np.random.default_rng(6)
PIXELS = RNG.integers(0, 256, (40, 60, 3), np.uint8)
BANDS = RNG.random((40, 60, 5)).astype(np.float32)
DATA = Path(__file__).parent.parent / "data"


def saved(kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, kind, **options)
    return buffer.getvalue()


def seeds() -> Iterator[tuple[str, bytes]]:
    yield from ((kind, saved(kind)) for kind in ("AVIF", "JPEG2000", "PPM"))
    for write in (np.save, np.savez_compressed):
        buffer = io.BytesIO()
        write(buffer, BANDS)
        yield write.__name__, buffer.getvalue()
    yield "HEIC", (DATA / "plain.heic").read_bytes()
    imagecodecs, tifffile = pytest.importorskip("imagecodecs"), pytest.importorskip("tifffile")
    yield "JPEG XL", imagecodecs.jpegxl_encode(PIXELS)
    yield "JPEG XL box", imagecodecs.jpegxl_encode(PIXELS, usecontainer=True)
    yield "JPEG-LS", imagecodecs.jpegls_encode(PIXELS)
    yield "JPEG 12", imagecodecs.jpeg8_encode(PIXELS.astype(np.uint16) * 16, bitspersample=12)
    for compression in (None, "lzw", "lerc", "webp", "jpegxl", "jpeg2000", "zstd"):
        buffer = io.BytesIO()
        values = PIXELS if compression in ("webp", "jpegxl", "jpeg2000") else BANDS
        kind = "rgb" if values is PIXELS else "minisblack"
        tifffile.imwrite(buffer, values, photometric=kind, planarconfig="contig", compression=compression)
        yield f"TIFF {compression}", buffer.getvalue()
    pydicom = pytest.importorskip("pydicom")
    for name in ("MR_small.dcm", "MR_small_RLE.dcm", "SC_rgb_jpeg_dcmtk.dcm", "MR_small_jp2klossless.dcm"):
        yield name, Path(pydicom.data.get_testdata_file(name, download=False)).read_bytes()


def mutated(data: bytes, draw: random.Random) -> bytes:
    kind = draw.randrange(5)
    if kind == 0:
        return data[: draw.randrange(1, len(data))]
    changed = bytearray(data)
    reach = min(len(data), draw.choice([64, 300, len(data)]))
    if kind == 1:
        at = draw.randrange(reach)
        changed[at : at + 4] = draw.choice([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"])
    elif kind == 2:
        at, start = draw.randrange(reach), draw.randrange(len(data))
        changed[at:at] = data[start : start + draw.choice([4, 64, 1000])]
    else:
        for _ in range(2 ** draw.randrange(7)):
            changed[draw.randrange(reach)] ^= 1 << draw.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize("each", [6, pytest.param(120, marks=pytest.mark.long)], ids=["quick", "long"])
@pytest.mark.parametrize("channels", ["rgb", "bands"])
def test_every_mutated_file_is_an_image_or_a_line(tmp_path: Path, each: int, channels: Any) -> None:
    draw = random.Random(8)
    files = {}
    for name, data in seeds():
        for number in range(each):
            files[name, number] = path = tmp_path / f"{len(files)}"
            path.write_bytes(data if number == 0 else mutated(data, draw))
    how = DecodeSettings((40, 60), Preprocessing(channels=channels), 100, MAX_PIXELS, 5)
    with DecoderPool(2, 20) as decoders:
        jobs = [(key, path, None) for key, path in files.items()]
        results: dict[tuple[str, int], Decoded] = dict(decoders.decode(jobs, how))
    assert results.keys() == files.keys()
    kinds: Counter[str] = Counter()
    for (name, number), result in results.items():
        assert (result.image is None) != (result.error is None)
        if result.error:
            kinds[result.error.type] += 1
            assert result.error.message.isprintable(), name
        elif result.image:
            assert result.image.picture.ndim == 3
        if number == 0 and result.error:
            fits = channels == "rgb" and not name.startswith(
                ("save", "JPEG-LS", "TIFF None", "TIFF lzw", "TIFF lerc", "TIFF zstd")
            )
            assert not fits, (name, result.error.message)
    assert kinds.keys() <= {"ImageError", "MemoryError", "DecoderCrash", "DecoderHang"}
    assert kinds["DecoderHang"] == 0
    assert kinds["DecoderCrash"] <= len(files) // 50
