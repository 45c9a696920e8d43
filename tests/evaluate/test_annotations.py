"""Annotations of every format give the same masks, go to the right image and class, and are refused when damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.measure
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from cam_cli.errors import UsageError
from cam_cli.evaluate.annotations import read_annotations
from cam_cli.evaluate.shapes import Box, Polygons, Runs
from cam_cli.results.manifest import TargetRecord

pytestmark = pytest.mark.pure

Mask = NDArray[np.bool_]
SAMPLES = Path(__file__).parent.parent.parent / "sample_images"
SIZE = (12, 9)
HEN = TargetRecord(index=8, label="hen", wnid="n01514859")
BOXES = [(1, 2, 5, 6), (7, 0, 12, 9)]
PLAIN = TargetRecord(index=3, label="Sports ball")


def box_mask(box: tuple[int, int, int, int], size: tuple[int, int] = SIZE) -> Mask:
    left, top, right, bottom = box
    mask = np.zeros(size[::-1], np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def polygon_of(box: tuple[int, int, int, int]) -> list[float]:
    left, top, right, bottom = box
    return [left, top, right, top, right, bottom, left, bottom]


def runs_of(mask: Mask) -> list[int]:
    """Count the runs one pixel at a time, down the columns, from a run of zeros on."""
    counts, value = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return counts


def packed(counts: list[int]) -> str:
    """COCO's string of run lengths, written from its definition: differences, in groups of 5 bits, 6th says more follow."""
    text = ""
    for position, count in enumerate(counts):
        value = count - counts[position - 2] if position > 2 else count
        while True:
            bits, value = value & 31, value >> 5
            more = not (value == 0 and not bits & 16) and not (value == -1 and bits & 16)
            text += chr(48 + bits + 32 * more)
            if not more:
                break
    return text


def coco(*, names: dict[int, str] | None = None, file_name: str = "a/x.jpg", form: str = "bbox") -> dict[str, Any]:
    shapes: dict[str, Callable[[tuple[int, int, int, int]], Any]] = {
        "bbox": lambda box: {"bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]]},
        "polygon": lambda box: {"bbox": [0, 0, 1, 1], "segmentation": [polygon_of(box)]},
        "runs": lambda box: {"segmentation": {"size": [9, 12], "counts": runs_of(box_mask(box))}},
        "string": lambda box: {"segmentation": {"size": [9, 12], "counts": packed(runs_of(box_mask(box)))}},
    }
    return {
        "images": [{"id": 5, "file_name": file_name, "width": SIZE[0], "height": SIZE[1]}],
        "categories": [{"id": number, "name": name} for number, name in (names or {1: "hen", 2: "cow"}).items()],
        "annotations": [{"image_id": 5, "category_id": 1, **shapes[form](box)} for box in BOXES]
        + [{"image_id": 5, "category_id": 2, "bbox": [0, 0, 3, 3]}],
    }


def voc(*, names: tuple[str, str] = ("hen", "cow"), file_name: str | None = "x.jpg", size: str = "12x9") -> str:
    width, height = size.split("x")
    objects = [(names[0], box) for box in BOXES] + [(names[1], (0, 0, 3, 3))]
    return (
        "<annotation>"
        + (f"<filename>{file_name}</filename>" if file_name else "")
        + f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        + "".join(
            f"<object><name>{name}</name><part><name>beak</name><bndbox><xmin>1</xmin></bndbox></part>"
            f"<bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
            for name, (x1, y1, x2, y2) in objects
        )
        + "</annotation>"
    )


def write(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def write_mask(path: Path, values: NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def in_form(form: str, folder: Path) -> Path:
    """The same two hens (and, but for masks, a cow) on `a/x.jpg` in one of the formats."""
    if form == "voc":
        return write(folder / "voc" / "a" / "x.xml", voc()).parent.parent
    if form == "masks":
        values = sum(number * box_mask(box).astype(np.uint8) for number, box in enumerate(BOXES, 1))
        return write_mask(folder / "masks" / "a" / "x.png", np.asarray(values, np.uint8)).parent.parent
    if form == "boxes":
        return write(
            folder / "boxes.json", {"a/x.jpg": {"size": SIZE, "class_index": 8, "label": "hen", "boxes": BOXES}}
        )
    return write(folder / f"{form}.json", coco(form=form))


FORMS = ("bbox", "polygon", "runs", "string", "voc", "masks", "boxes")


@pytest.mark.parametrize("form", FORMS)
def test_every_format_gives_the_same_masks(form: str, tmp_path: Path) -> None:
    found = read_annotations(in_form(form, tmp_path)).instances("a/x.jpg", SIZE, HEN)
    assert found is not None
    assert all(mask.dtype == np.bool_ for mask in found)
    np.testing.assert_array_equal(found, [box_mask(box) for box in BOXES])


@pytest.mark.parametrize("form", FORMS)
def test_an_image_of_another_size_is_refused_with_both_sizes(form: str, tmp_path: Path) -> None:
    annotations = read_annotations(in_form(form, tmp_path))
    with pytest.raises(UsageError, match=r"12 x 9 pixels.*640 x 480") as raised:
        annotations.instances("a/x.jpg", (640, 480), HEN)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_not_annotated_is_none_not_empty(form: str, tmp_path: Path) -> None:
    annotations = read_annotations(in_form(form, tmp_path))
    assert annotations.instances("a/y.jpg", SIZE, HEN) is None
    if form != "masks":
        assert annotations.instances("a/x.jpg", SIZE, TargetRecord(index=0, label="tench")) is None


def test_the_sample_boxes_are_read_whole() -> None:
    annotations = read_annotations(SAMPLES / "boxes.json", SAMPLES)
    table = json.loads((SAMPLES / "boxes.json").read_text())
    for name, image in table.items():
        target = TargetRecord(index=image["class_index"], label=image["label"].split(",")[0], wnid=image["wnid"])
        found = annotations.instances(name, tuple(image["size"]), target)
        assert found is not None
        assert [int(mask.sum()) for mask in found] == [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in image["boxes"]]


# --- classes


@pytest.mark.parametrize(
    ("name", "target", "same"),
    [
        ("HEN", HEN, True),
        ("hen ", HEN, True),
        ("chicken, Hen", HEN, True),
        ("n01514859", HEN, True),
        ("n01514668", HEN, False),
        ("sports_ball", PLAIN, True),
        ("ball", PLAIN, False),
        ("then", HEN, False),
        ("", TargetRecord(index=8, label=""), False),
        ("panther", TargetRecord(index=290, label="jaguar, panther, Panthera onca"), True),
    ],
)
@pytest.mark.parametrize("form", ["coco", "voc"])
def test_classes_match_by_wordnet_id_or_by_any_synonym(
    form: str, name: str, target: TargetRecord, same: bool, tmp_path: Path
) -> None:
    if form == "coco":
        path = write(tmp_path / "coco.json", coco(names={1: name, 2: "cow"}))
    else:
        path = write(tmp_path / "voc" / "a" / "x.xml", voc(names=(name, "cow"))).parent.parent
    assert (read_annotations(path).instances("a/x.jpg", SIZE, target) is not None) is same


@pytest.mark.parametrize(
    ("entry", "target", "same"),
    [
        ({"class_index": 8}, TargetRecord(index=8, label="8"), True),
        ({"class_index": 8}, TargetRecord(index=9, label="9"), False),
        ({"class_index": 8, "wnid": "n01514859"}, TargetRecord(index=9, label="a hen", wnid="n01514859"), True),
        ({"class_index": 8, "wnid": "n01514859"}, TargetRecord(index=8, label="cock", wnid="n01514668"), False),
        ({"class_index": 8, "label": "hen"}, TargetRecord(index=1, label="Hen"), True),
        ({"label": "hen"}, TargetRecord(index=1, label="hen", wnid="n01514859"), True),
    ],
)
def test_boxes_match_by_wordnet_id_then_index_then_name(
    entry: dict[str, Any], target: TargetRecord, same: bool, tmp_path: Path
) -> None:
    path = write(tmp_path / "boxes.json", {"x.jpg": {"size": SIZE, "boxes": BOXES, **entry}})
    assert (read_annotations(path).instances("x.jpg", SIZE, target) is not None) is same


# --- images


@pytest.mark.parametrize(
    ("annotated", "image", "found"),
    [
        ("a/x.jpg", "a/x.jpg", True),
        ("./a//x.jpg", "a/x.jpg", True),
        ("train/x.jpg", "a/x.jpg", True),
        ("C:\\data\\x.jpg", "a/x.jpg", True),
        ("a:x.jpg", "b/a:x.jpg", True),
        ("x.png", "x.jpg", False),
        ("xx.jpg", "x.jpg", False),
        ("x\u00e9.jpg", "a/x\u00e9.jpg", True),
        ("a\\x.jpg", "a\\\\x.jpg", True),
    ],
)
def test_images_match_by_path_else_by_file_name(annotated: str, image: str, found: bool, tmp_path: Path) -> None:
    annotations = read_annotations(write(tmp_path / "coco.json", coco(file_name=annotated)))
    assert (annotations.instances(image, SIZE, HEN) is not None) is found


def test_of_images_with_one_file_name_each_gets_its_own(tmp_path: Path) -> None:
    table = {
        f"{name}/1.jpg": {"size": SIZE, "label": "hen", "boxes": [box]} for name, box in zip("ab", BOXES, strict=True)
    }
    annotations = read_annotations(write(tmp_path / "boxes.json", table))
    for name, box in zip("ab", BOXES, strict=True):
        np.testing.assert_array_equal(annotations.instances(f"{name}/1.jpg", SIZE, HEN), [box_mask(box)])
    assert annotations.instances("c/1.jpg", SIZE, HEN) is None


def test_an_annotation_that_has_an_image_is_not_lent_to_its_namesake(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name / "1.jpg", "")
    beside = write(tmp_path / "a" / "boxes.json", {"1.jpg": {"size": SIZE, "label": "hen", "boxes": BOXES}})
    above = write(tmp_path / "boxes.json", {"a/1.jpg": {"size": SIZE, "label": "hen", "boxes": BOXES}})
    absolute = write(
        tmp_path / "abs.json", {str(tmp_path / "a" / "1.jpg"): {"size": SIZE, "label": "hen", "boxes": BOXES}}
    )
    for file in (beside, above, absolute):
        assert read_annotations(file, tmp_path).instances("a/1.jpg", SIZE, HEN) is not None
        assert read_annotations(file, tmp_path).instances("b/1.jpg", SIZE, HEN) is None
    elsewhere = write(tmp_path / "c" / "boxes.json", {"a/1.jpg": {"size": SIZE, "label": "hen", "boxes": BOXES}})
    assert read_annotations(elsewhere, tmp_path).instances("b/1.jpg", SIZE, HEN) is None
    assert read_annotations(elsewhere).instances("b/1.jpg", SIZE, HEN) is not None


@pytest.mark.parametrize(
    ("file_name", "other"), [(None, "y.jpg"), ("x.jpg", "x.jpg"), ("stale.jpg", "stale.jpg"), ("x", "y.jpg")]
)
def test_a_voc_file_is_found_by_its_own_name_whatever_it_says(
    file_name: str | None, other: str, tmp_path: Path
) -> None:
    write(tmp_path / "Annotations" / "x.xml", voc(file_name=file_name))
    write(tmp_path / "Annotations" / "other.xml", voc(file_name=other, names=("cow", "cow")))
    annotations = read_annotations(tmp_path / "Annotations")
    for image in ("x.jpg", "JPEGImages/x.jpg"):
        found = annotations.instances(image, SIZE, HEN)
        assert found is not None
        assert len(found) == len(BOXES)


def test_a_voc_file_is_found_by_the_file_name_it_holds(tmp_path: Path) -> None:
    write(tmp_path / "000017.xml", voc(file_name="barn.jpg"))
    assert read_annotations(tmp_path).instances("images/barn.jpg", SIZE, HEN) is not None


# --- masks


@pytest.mark.parametrize(
    ("values", "dtype", "instances"),
    [
        ((0, 255), np.uint8, 1),
        ((0, 7), np.uint8, 1),
        ((0, 1, 2, 255), np.uint8, 2),
        ((0, 1, 255, 300), np.uint16, 3),
        ((0, True), np.bool_, 1),
        ((0,), np.uint8, None),
    ],
)
def test_values_of_a_mask(values: tuple[int, ...], dtype: type[Any], instances: int | None, tmp_path: Path) -> None:
    write_mask(tmp_path / "x.png", np.resize(np.asarray(values, dtype), SIZE[::-1]))
    found = read_annotations(tmp_path).instances("x.jpg", SIZE, HEN)
    assert (found and len(found)) == instances


def test_a_palette_mask_is_read_by_number_not_by_colour(tmp_path: Path) -> None:
    image = Image.fromarray(np.resize(np.uint8([0, 1, 2]), SIZE[::-1])).convert("P")
    image.putpalette([0, 0, 0, 128, 0, 0, 128, 0, 0])
    image.save(tmp_path / "x.png")
    assert len(read_annotations(tmp_path).instances("x.jpg", SIZE, HEN) or []) == 2


# --- shapes

corner = st.floats(-4, 16, allow_nan=False)


@given(st.lists(st.tuples(corner, corner), min_size=3, max_size=8))
@settings(max_examples=examples(40))
def test_a_polygon_holds_the_pixels_whose_centres_it_holds(corners: list[tuple[float, float]]) -> None:
    width, height = SIZE
    mask = Polygons((tuple(np.ravel(corners)),)).mask(SIZE)
    centres = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), -1).reshape(-1, 2)
    inside = skimage.measure.points_in_poly(centres, corners).reshape(height, width)
    close = np.zeros(inside.shape, np.bool_)
    for (x1, y1), (x2, y2) in zip(corners, [*corners[1:], corners[0]], strict=True):
        t = np.linspace(0, 1, 200)[:, None]
        points = np.array([[x1, y1]]) * (1 - t) + np.array([[x2, y2]]) * t
        close |= (np.abs(centres[:, None] - points).max(-1).min(-1) < 0.1).reshape(height, width)
    np.testing.assert_array_equal(mask[~close], inside[~close])


def test_parts_of_an_instance_are_one_mask_also_where_they_overlap() -> None:
    first, second = BOXES
    wide = (0, 1, 9, 8)
    parts = tuple(tuple(polygon_of(box)) for box in (first, second, wide))
    np.testing.assert_array_equal(Polygons(parts).mask(SIZE), box_mask(first) | box_mask(second) | box_mask(wide))


@given(st.data())
def test_run_lengths_are_read_down_the_columns(data: st.DataObject) -> None:
    width, height = data.draw(st.integers(1, 80)), data.draw(st.integers(1, 20))
    mask = np.random.default_rng(data.draw(st.integers(0, 99))).random((height, width)) < data.draw(st.floats(0, 1))
    counts = runs_of(mask)
    for form in (tuple(counts), packed(counts)):
        np.testing.assert_array_equal(Runs((height, width), form).mask((width, height)), mask)


@pytest.mark.parametrize(
    ("text", "counts"),
    [("061M", [0, 6, 1, 3]), ("0610", [0, 6, 1, 6]), ("0PP1", [0, 1024]), ("011101010", [0, 1, 1, 2, 1, 3, 1, 4, 1])],
)
def test_strings_that_coco_tools_write(text: str, counts: list[int]) -> None:
    size = (sum(counts), 1)
    np.testing.assert_array_equal(Runs((1, size[0]), text).mask(size), Runs((1, size[0]), tuple(counts)).mask(size))


def test_a_box_beyond_the_image_is_cut_and_one_without_a_pixel_is_left_out(tmp_path: Path) -> None:
    assert Box(-5, -5, 99, 99).mask(SIZE).all()
    boxes = [(2.6, 2.6, 2.7, 2.7), (50, 50, 60, 60), (1, 2, 5, 6)]
    path = write(tmp_path / "boxes.json", {"x.jpg": {"size": SIZE, "label": "hen", "boxes": boxes}})
    assert len(read_annotations(path).instances("x.jpg", SIZE, HEN) or []) == 1


# --- damage


def damaged(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    value = coco()
    change(value)
    return value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "EOF"),
        ("[1, 2]", "dictionary"),
        ('{"a": NaN}', "expected value"),
        ("[" * 100_000, "recursion"),
        ('{"annotations": []}', "images"),
        ({"x.jpg": {"boxes": BOXES}}, r"x\.jpg\.size"),
        ({"x.jpg": {"size": SIZE, "boxes": BOXES}}, "class_index, wnid or label"),
        ({"x.jpg": {"size": SIZE, "label": "hen", "boxes": [[5, 2, 1, 6]]}}, "x1 <= x2"),
        (damaged(lambda c: c["annotations"][1].pop("bbox")), r"annotations\.1: .*neither bbox nor"),
        (damaged(lambda c: c["annotations"][1].update(bbox=[1, 2, -3, 4])), r"annotations\.1\.bbox\.2"),
        (damaged(lambda c: c["annotations"][1].update(bbox=[1, 2, 1e300, 4])), r"annotations\.1\.bbox\.2"),
        (damaged(lambda c: c["annotations"][2].update(image_id=6)), r"annotations\.2: there is no image or category 6"),
        (
            damaged(lambda c: c["annotations"][2].update(category_id=9)),
            r"annotations\.2: there is no image or category 9",
        ),
        (damaged(lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3, 4]])), r"segmentation\.polygons\.0"),
        (damaged(lambda c: c["annotations"][0].update(segmentation=[[1] * 7])), "odd number"),
        (damaged(lambda c: c["images"].append(c["images"][0])), "same id"),
        (damaged(lambda c: c["images"].append({**c["images"][0], "id": 6})), "same file_name"),
    ],
)
def test_a_damaged_json_file_is_refused_in_one_line(value: object, said: str, tmp_path: Path) -> None:
    path = write(tmp_path / "bad\n.json", value)
    with pytest.raises(UsageError, match=said) as raised:
        read_annotations(path)
    assert "bad\\n.json'" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "counts",
    [[1, 2], [200], [-4, 112], "~", "P", "oooooooooooooooooooooo0", "0", [1 << 70]],
    ids=lambda counts: str(counts)[:9],
)
def test_damaged_run_lengths_are_refused_before_anything_is_made_of_them(counts: object, tmp_path: Path) -> None:
    value = damaged(lambda c: c["annotations"][0].update(segmentation={"size": [9, 12], "counts": counts}))
    annotations = read_annotations(write(tmp_path / "coco.json", value))
    with pytest.raises(UsageError, match=r"coco\.json', 'a/x\.jpg': .*run lengths") as raised:
        annotations.instances("a/x.jpg", SIZE, HEN)
    assert len(str(raised.value)) < 300
    if str(counts).startswith("ooo"):
        assert "no string" in str(raised.value)  # not a number that grows with every character


BOMB = '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><annotation><filename>&b;</filename></annotation>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><annotation><filename>&x;</filename></annotation>'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "DOCTYPE"),
        (OUTSIDE, "DOCTYPE"),
        ("<?xml version='1.0'?>\n\n" + OUTSIDE, "DOCTYPE"),
        (OUTSIDE.encode("utf-16"), "UTF-16"),
        ("<annotation>", "no element found"),
        ("", "no element found"),
        ("<html/>", "'html'"),
        ("<?xml version='1.0' encoding='klingon'?><annotation/>", "encoding"),
        (voc().replace("<xmax>5</xmax>", ""), "bndbox/xmax is missing"),
        (voc().replace("<xmax>5</xmax>", "<xmax>wide</xmax>"), "bndbox/xmax is 'wide'"),
        (voc().replace("<xmax>5</xmax>", "<xmax>nan</xmax>"), "bndbox/xmax is 'nan'"),
        (voc().replace("<xmax>5</xmax>", "<xmax>1</xmax>"), "xmin is more than xmax"),
        (voc(size="x9"), "size/width is missing"),
    ],
)
def test_a_damaged_or_hostile_voc_file_is_refused_in_one_line(text: str | bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "bad.xml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=said) as raised:
        read_annotations(tmp_path)
    assert "bad.xml'" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_damaged_or_coloured_mask_is_refused(tmp_path: Path) -> None:
    write_mask(tmp_path / "colour.png", np.zeros((9, 12, 3), np.uint8))
    whole = write_mask(tmp_path / "whole.png", np.ones((9, 12), np.uint8)).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:-25])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    annotations = read_annotations(tmp_path)
    for name in ("colour", "cut", "empty", "folder"):
        with pytest.raises(UsageError, match=rf"{name}\.png'") as raised:
            annotations.instances(f"{name}.jpg", SIZE, HEN)
        assert "\n" not in str(raised.value)


def test_a_folder_must_hold_one_kind(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither"):
        read_annotations(tmp_path)
    write(tmp_path / "a.xml", voc())
    write_mask(tmp_path / "b.png", np.zeros((9, 12), np.uint8))
    with pytest.raises(UsageError, match="both"):
        read_annotations(tmp_path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_annotations(tmp_path / "missing.json")
