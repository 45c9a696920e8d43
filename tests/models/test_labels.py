"""Class names: one numbering of the list, or a refusal that names the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from cam_cli.errors import UsageError
from cam_cli.models.labels import read_labels

NAMES = ["cat", "dog", "great white shark"]


def read(tmp_path: Path, data: bytes | str) -> list[str]:
    file = tmp_path / "labels.txt"
    file.write_bytes(data if isinstance(data, bytes) else data.encode())
    labels = read_labels(file)
    assert [entry.index for entry in labels.entries] == list(range(len(labels.entries)))
    for index, entry in enumerate(labels.entries):
        assert labels.resolve(entry.name, len(labels.entries)) == (index,)
    return [entry.name for entry in labels.entries]


PLAIN = "\n".join(NAMES)


@pytest.mark.parametrize(
    "data",
    [
        PLAIN,
        PLAIN + "\n",
        PLAIN + "\n\n  \n",
        PLAIN.replace("\n", "\r\n") + "\r\n",
        PLAIN.replace("\n", "\r"),
        b"\xef\xbb\xbf" + PLAIN.encode(),
        "0 cat\n1 dog\n2 great white shark\n",
        "0\tcat\n1\tdog\n2\tgreat white shark",
        "0: cat\r\n1: dog\r\n2: great white shark\r\n",
        "0,cat\n1,dog\n2,great white shark\n",
        '["cat", "dog", "great white shark"]',
        '{"2": "great white shark", "0": "cat", "1": "dog"}',
        '{"cat": 0, "dog": 1, "great white shark": 2}',
        '{"0": ["n02123045", "cat"], "1": ["n02084071", "dog"], "2": ["n01484850", "great white shark"]}',
        "n02123045 cat, tabby\nn02084071 dog\nn01484850 great white shark, white shark\n",
        '"cat"\n"dog"\n"great white shark"\n',
        "id,label\n0,cat\n1,dog\n2,great white shark\n",
        "name\ncat\ndog\ngreat white shark\n\n",
        "index,name\n0,cat\n1,dog\n2,great white shark\n",
        "\ufeffindex;Name\r\n0;cat\r\n1;dog\r\n2;great white shark\r\n",
        'name,wnid\ncat,\n"dog",\n"great white shark",n01484850\n',
    ],
)
def test_names_have_the_index_of_their_line(tmp_path: Path, data: bytes | str) -> None:
    assert read(tmp_path, data) == NAMES


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ("3 door\n5 door\n", ["3 door", "5 door"]),
        ("0\n1\n2\n", ["0", "1", "2"]),
        ("0 stars\n1 stars\n2 stars\n", ["0 stars", "1 stars", "2 stars"]),
        ("0.5 kg\n1.5 kg\n", ["0.5 kg", "1.5 kg"]),
        ("0,5 kg\n1,5 kg\n", ["0,5 kg", "1,5 kg"]),
        ("cat\x0cfish\ndog\u2028fish\n", ["cat\x0cfish", "dog\u2028fish"]),
        ("1 euro\n2 euro\n5 euro\n", ["1 euro", "2 euro", "5 euro"]),
    ],
)
def test_what_only_looks_like_an_index_is_part_of_the_name(tmp_path: Path, data: str, names: list[str]) -> None:
    assert read(tmp_path, data) == names


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("\ncat\ndog\n", "labels.txt:1: an empty line"),
        ("cat\n\ndog\n", "labels.txt:2: an empty line"),
        ("cat\r\n \r\ndog\r\n", "labels.txt:2: an empty line"),
        ("name\n\ncat\ndog\n", "labels.txt:2: an empty line"),
        ("name,wnid\ncat,\n,\ndog,\n", "labels.txt:3: an empty line"),
        ("0 cat\n2 owl\n", "labels.txt:2: numbered 2 where 1 is expected"),
        ("1 cat\n0 dog\n", "labels.txt:1: numbered 1 where 0 is expected"),
        ("1 cat\n2 dog\n3 owl\n", "labels.txt:1: the names are numbered from 1"),
        ("index,name\n1,cat\n2,dog\n", "labels.txt:2: index 1 where 0 is expected.*without a gap"),
        ("index,name\n0,cat\n2,dog\n", "labels.txt:3: index 2 where 1 is expected"),
        ("index,name\n0,shark, white\n1,dog\n", "labels.txt:2: 3 cells under 2 columns"),
        ("index,name\nx,cat\n", "labels.txt:2: index 'x'"),
        ('{"0": "cat", "2": "dog"}', "JSON"),
        ('{"0": "cat", ', "JSON"),
        ("names:\n  0: cat\n  1: dog\n", "YAML"),
        ("item { id: 1 name: 'cat' }\nitem { id: 2 name: 'dog' }\n", "pbtxt"),
        ("cat,dog,bird\n", "commas"),
        ("cat\ndog\n".encode("utf-16"), "UTF-8"),
    ],
)
def test_a_list_whose_numbering_is_in_doubt_is_refused(tmp_path: Path, data: bytes | str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        read(tmp_path, data)
    assert "\n" not in str(caught.value)


def test_a_table_may_call_its_names_labels_or_classes(tmp_path: Path) -> None:
    for title in ("label", "class", "name"):
        file = tmp_path / "labels.csv"
        file.write_text(f"{title}\ncat\ndog\n")
        assert [entry.name for entry in read_labels(file).entries] == ["cat", "dog"]


def test_lines_of_wordnet_give_its_ids_and_other_names(tmp_path: Path) -> None:
    file = tmp_path / "synset_words.txt"
    file.write_text("n01440764 tench, Tinca tinca\nn01443537 goldfish\n")
    labels = read_labels(file)
    assert labels.entries[0].wnid == "n01440764"
    assert labels.resolve("tinca tinca", 2) == (0,)
