"""Where the objects of a class are on an image: COCO JSON, Pascal VOC XML, mask images, or boxes by image."""

from __future__ import annotations

import io
import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from xml.etree import ElementTree

import numpy as np
import pydantic_core
from PIL import Image
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError

from cam_cli.errors import UsageError
from cam_cli.evaluate.shapes import Box, Mask, Polygons, Runs, Shape, Size, check_size
from cam_cli.images.formats import endings_read
from cam_cli.images.pillow import strict_and_unlimited
from cam_cli.results.manifest import TargetRecord
from cam_cli.storage.location import Location
from cam_cli.text import from_printable, one_line, shown

_WNID = re.compile(r"n\d{8}")
_VOID = 255
"""What Pascal VOC fills the outlines of its 8-bit instance masks with."""


def read_annotations(path: Path, root: Location | None = None) -> AnnotationList | MaskFolder:
    """Read a COCO instances file, a JSON file of boxes by image, or a folder of Pascal VOC XML files or of PNG masks.

    An image's annotation is the one with its path, relative to its root or to the annotations; else the only one with its file
    name, unless the root shows that this one belongs to another image. Masks are found by the path alone, ending in `.png`: 0
    is background, every other value an instance of any class; in 8 bits, 255 beside others is Pascal VOC's outline.

    Two classes are the same if their WordNet ids are; if one side has no id, if their indices are (boxes by image), or one of
    their names. Raises UsageError, which names the file and the entry, if it is of no such kind, or damaged.

    root: of the images for which `instances` is not told one.
    """
    if not path.is_dir():
        return AnnotationList(path, _images_of_json(path), root)
    has_xml, has_png = (any(path.rglob(f"*.{ending}")) for ending in ("xml", "png"))
    if has_xml == has_png:
        both = "both .xml and .png files; name a folder that holds one kind"
        neither = "neither Pascal VOC files (.xml) nor masks (.png); name a folder that does"
        raise UsageError(f"{shown(path)} holds {both if has_xml else neither}")
    return MaskFolder(path) if has_png else AnnotationList(path, list(_images_of_voc(path)), root)


@dataclass(frozen=True)
class _Class:
    names: str
    wnid: str | None = None
    index: int | None = None

    def is_of(self, target: TargetRecord) -> bool:
        wnid = self.wnid or (self.names if _WNID.fullmatch(self.names) else None)
        if wnid and target.wnid:
            return wnid == target.wnid
        return self.index == target.index or not _synonyms(self.names).isdisjoint(_synonyms(target.label))


def _synonyms(names: str) -> set[str]:
    parts = (" ".join(part.replace("_", " ").split()).casefold() for part in names.split(","))
    return {part for part in parts if part}


@dataclass(frozen=True)
class _Image:
    """What is annotated of an image; of several names, paths as annotated, the first has precedence."""

    names: tuple[str, ...]
    source: str
    size: Size | None
    objects: Sequence[tuple[_Class, Shape]]


class AnnotationList:
    """Annotations of images that are listed in files."""

    def __init__(self, path: Path, images: Sequence[_Image], root: Location | None) -> None:
        self._folder = path if path.is_dir() else path.parent
        self._root = root
        self._by_path: dict[str, list[_Image]] = defaultdict(list)
        self._by_name: dict[str, list[_Image]] = defaultdict(list)
        for image in images:
            for name in set(image.names):
                self._by_path[os.path.normpath(name)].append(image)
            for name in {_last_part(name) for name in image.names}:
                self._by_name[name].append(image)

    def classes(self, image_path: str, root: Location | None = None) -> int:
        """Return how many classes are annotated on an image."""
        image = self._find(from_printable(image_path), root)
        return len({kind for kind, _ in image.objects}) if image else 0

    def instances(
        self, image_path: str, size: Size, target: TargetRecord, root: Location | None = None
    ) -> list[Mask] | None:
        """Return where the instances of a class are on an image.

        Args:
            image_path: as manifests have it.
            size: width and height of the upright image.
            target: the class.
            root: the folder that the path is relative to.

        Returns:
            (height, width) bool each, none of them empty; None if the image has no annotation of that class.

        Raises:
            UsageError: the annotation is for an image of another size, or damaged.
        """
        image = self._find(from_printable(image_path), root)
        if image is None:
            return None
        try:
            if image.size is not None:
                check_size(image.size, size)
            masks = [shape.mask(size) for kind, shape in image.objects if kind.is_of(target)]
        except ValueError as error:
            raise UsageError(f"{image.source}: {error}") from None
        return [mask for mask in masks if mask.any()] or None

    def _find(self, path: PurePosixPath, root: Location | None) -> _Image | None:
        paths = [path]
        root = root or self._root
        root = root if isinstance(root, Path) else None
        if root is not None:
            absolute = os.path.normpath((root / path).absolute())
            paths += [PurePosixPath(os.path.relpath(absolute, self._folder.absolute())), PurePosixPath(absolute)]
        for tried in (*paths, *(path.with_suffix("") for path in paths)):
            if len(found := self._by_path.get(str(tried), [])) == 1:
                return found[0]
        for name in (path.name, path.stem):
            if len(found := self._by_name.get(name, [])) == 1:
                # One that was found by its file name alone may have, by its path, an image of its own.
                bases = (root, self._folder) if root is not None else ()
                owned = (base / annotated for base in bases for annotated in found[0].names)
                return None if any(map(os.path.isfile, owned)) else found[0]  # Path.is_file raises on names too long
        return None


def _last_part(path: str) -> str:
    """Return the file name of a path that may come from Windows."""
    return re.split(r"[/\\]", path)[-1]


@dataclass(frozen=True)
class MaskFolder:
    """Annotations as a folder of mask images; of any class."""

    folder: Path

    def classes(self, image_path: str, root: Location | None = None) -> int:  # noqa: ARG002
        """Return 1 if there is a mask for an image, which is of any class, else 0."""
        return int(self._file(image_path).exists())

    def _file(self, image_path: str) -> Path:
        return self.folder / from_printable(image_path).with_suffix(".png")

    def instances(
        self,
        image_path: str,
        size: Size,
        target: TargetRecord,  # noqa: ARG002
        root: Location | None = None,  # noqa: ARG002
    ) -> list[Mask] | None:
        """Return where the instances are on an image, as `AnnotationList` does."""
        path = self._file(image_path)
        if not path.exists():
            return None
        data = _bytes(path)
        try:
            with strict_and_unlimited, Image.open(io.BytesIO(data), formats=("PNG",)) as image:
                check_size(image.size, size)
                if image.mode not in {"1", "L", "P", "I", "I;16"}:
                    raise ValueError(
                        f"a mask has one number a pixel, this is {image.mode}; save it as grey or with a palette"
                    )
                values = np.asarray(image)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - damaged PNGs make Pillow fail in many ways
            raise UsageError(f"mask {shown(path)}: {one_line(error)}") from None
        present = [value for value in np.unique(values) if value]
        if values.dtype == np.uint8 and len(present) > 1:
            present = [value for value in present if value != _VOID]
        return [values == value for value in present] or None


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


_Coordinate = Annotated[float, Field(ge=-1e6, le=1e6)]
_Length = Annotated[float, Field(ge=0, le=1e6)]
_Outline = Annotated[tuple[_Coordinate, ...], Field(min_length=6)]
_Segmentation = Annotated[
    Annotated[Runs, Tag("runs")] | Annotated[tuple[_Outline, ...], Tag("polygons")],
    Discriminator(lambda value: "runs" if isinstance(value, dict) else "polygons"),
]


class _CocoImage(_Part):
    id: int
    file_name: str
    width: int
    height: int


class _CocoCategory(_Part):
    id: int
    name: str


class _CocoAnnotation(_Part):
    image_id: int
    category_id: int
    bbox: tuple[_Coordinate, _Coordinate, _Length, _Length] | None = None
    segmentation: _Segmentation | None = None

    def shape(self) -> Shape:
        if isinstance(self.segmentation, Runs):
            return self.segmentation
        if self.segmentation:
            if any(len(outline) % 2 for outline in self.segmentation):
                raise ValueError("a polygon has an odd number of coordinates")
            return Polygons(self.segmentation)
        if self.bbox is None:
            raise ValueError("it has neither bbox nor segmentation")
        left, top, width, height = self.bbox
        return Box(left, top, left + width, top + height)


class _Coco(_Part):
    images: tuple[_CocoImage, ...]
    categories: tuple[_CocoCategory, ...]
    annotations: tuple[_CocoAnnotation, ...]


class _Boxed(_Part):
    size: tuple[int, int]
    class_index: int | None = None
    wnid: str | None = None
    label: str = ""
    boxes: tuple[tuple[_Coordinate, _Coordinate, _Coordinate, _Coordinate], ...]


_BOXED: TypeAdapter[dict[str, _Boxed]] = TypeAdapter(dict[str, _Boxed])


def _images_of_json(path: Path) -> list[_Image]:
    source = f"annotations {shown(path)}"
    try:
        value = pydantic_core.from_json(_bytes(path).removeprefix(b"\xef\xbb\xbf"), allow_inf_nan=False)
        is_coco = isinstance(value, dict) and isinstance(value.get("annotations"), list)
        return list((_images_of_coco if is_coco else _images_of_boxes)(value, source))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise UsageError(f"{source}: {shown('.'.join(map(str, first['loc'])))}: {first['msg']}") from None
    except ValueError as error:
        raise UsageError(f"{source}: {error}") from None


def _images_of_coco(value: Any, source: str) -> Iterator[_Image]:
    coco = _Coco.model_validate(value)
    kinds = {category.id: _Class(category.name) for category in coco.categories}
    objects: dict[int, list[tuple[_Class, Shape]]] = {image.id: [] for image in coco.images}
    if len(kinds) < len(coco.categories) or len(objects) < len(coco.images):
        raise ValueError("two images or two categories have the same id")
    if len({image.file_name for image in coco.images}) < len(coco.images):
        raise ValueError("two images have the same file_name")
    for number, annotation in enumerate(coco.annotations):
        try:
            objects[annotation.image_id].append((kinds[annotation.category_id], annotation.shape()))
        except (KeyError, ValueError) as error:
            reason = f"there is no image or category {error}" if isinstance(error, KeyError) else error
            raise ValueError(f"annotations.{number}: {reason}") from None
    for image in coco.images:
        of_image = f"{source}, {shown(image.file_name)}"
        yield _Image((image.file_name,), of_image, (image.width, image.height), objects[image.id])


def _images_of_boxes(value: Any, source: str) -> Iterator[_Image]:
    for name, image in _BOXED.validate_python(value).items():
        kind = _Class(image.label, image.wnid, image.class_index)
        if kind == _Class(""):
            raise ValueError(f"{shown(name)}: class_index, wnid or label must say the class")
        if any(right < left or bottom < top for left, top, right, bottom in image.boxes):
            raise ValueError(f"{shown(name)}: a box is x1, y1, x2, y2 with x1 <= x2 and y1 <= y2")
        yield _Image((name,), f"{source}, {shown(name)}", image.size, [(kind, Box(*box)) for box in image.boxes])


def _images_of_voc(folder: Path) -> Iterator[_Image]:
    for path in sorted(folder.rglob("*.xml"), key=os.fsencode):
        source = f"annotations {shown(path)}"
        try:
            yield _image_of_voc(_bytes(path), path.relative_to(folder).with_suffix(""), source)
        except (ValueError, LookupError, ElementTree.ParseError) as error:
            raise UsageError(f"{source}: {error}") from None


def _image_of_voc(data: bytes, name: Path, source: str) -> _Image:
    """Read one XML file; corners are whole pixels that belong to the box, counted from 1."""
    if b"\0" in data or b"<!DOCTYPE" in data:
        raise ValueError("a DOCTYPE or UTF-16 is not read; save it as plain UTF-8 XML")
    tree = ElementTree.fromstring(data)
    if tree.tag != "annotation":
        raise ValueError(f"the outermost element is {shown(tree.tag)}, not 'annotation' as in Pascal VOC")
    objects: list[tuple[_Class, Shape]] = []
    for element in tree.iterfind("object"):
        left, top, right, bottom = (_number(element, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax"))
        if right < left or bottom < top:
            raise ValueError(f"object {len(objects)}: xmin is more than xmax, or ymin more than ymax")
        objects.append((_Class((element.findtext("name") or "").strip()), Box(left - 1, top - 1, right, bottom)))
    size = None if tree.find("size") is None else (int(_number(tree, "size/width")), int(_number(tree, "size/height")))
    file_name = _last_part((tree.findtext("filename") or "").strip())
    has_ending = file_name.lower().endswith(tuple(f".{ending}" for ending in endings_read()))
    return _Image((str(name.with_name(file_name)), str(name)) if has_ending else (str(name),), source, size, objects)


def _number(element: ElementTree.Element, path: str) -> float:
    text = element.findtext(path)
    try:
        number = float(text or "")
    except ValueError:
        number = np.nan
    if not abs(number) <= 1e6:
        raise ValueError(f"{path} is {shown(text) if text else 'missing'}, not a number of pixels")
    return number


def _bytes(path: Path) -> bytes:
    reason = "not a regular file"
    try:
        if stat.S_ISREG(path.stat().st_mode):
            return path.read_bytes()
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
    raise UsageError(f"annotations {shown(path)}: {reason}; name a file that smoothcam may read")
