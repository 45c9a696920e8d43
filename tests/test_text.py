"""Text for messages: file names, exceptions and numbers, each on one line that no terminal takes for a command."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cam_cli.text import cell, escaped, from_printable, one_line, printable, ranges, reason_of, shown, shown_if_odd

names = st.binary(min_size=1, max_size=12).filter(lambda name: b"\0" not in name and name.strip(b"/."))


@given(names)
def test_a_file_name_survives_as_valid_text_whatever_its_bytes(name: bytes) -> None:
    path = os.path.normpath(os.fsdecode(name))
    text = printable(path)
    text.encode("utf-8")
    assert os.fspath(from_printable(text)) == path.removeprefix("/") or os.fspath(from_printable(text)) == path


@given(names)
def test_a_message_shows_a_file_name_on_one_line(name: bytes) -> None:
    assert shown(os.fsdecode(name)).isprintable()
    assert shown_if_odd(os.fsdecode(name)).isprintable()
    assert escaped(printable(os.fsdecode(name))).isprintable()


def test_file_names_as_messages_have_them() -> None:
    assert printable("a\\b\udcff") == "a\\\\b\\xff"
    assert shown("a\n.jpg") == "'a\\n.jpg'"
    assert (shown_if_odd("a b.jpg"), shown_if_odd("a\n.jpg")) == ("a b.jpg", "'a\\n.jpg'")


def test_a_spreadsheet_takes_no_cell_for_a_formula() -> None:
    assert [cell(value) for value in ("=1", "+1", "-1", "@a", "a=1", -1, "a\x1b")] == [
        "'=1", "'+1", "'-1", "'@a", "a=1", "-1", "a\\x1b",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("message", "whole"),
    [
        ("two\n  lines\t", "two lines"),
        ("\n\n second ", "second"),
        ("", "ValueError"),
        (" \n ", "ValueError"),
        ('it failed\n  File "a.py", line 3\nreason\nand more', "reason and more"),
    ],
)
def test_an_exception_in_one_line(message: str, whole: str) -> None:
    assert one_line(ValueError(message)) == whole


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("one\ntwo", "one"),
        (" \n", "ValueError"),
        (
            "<class 'keras.src.layers.core.dense.Dense'> could not be deserialized properly. Please ensure that components\n\n"
            "config={'module': 'keras.layers', 'config': {'units': 3}}.\n\nException encountered: Error when deserializing "
            "class 'Dense' using config={'units': 3}.\n\nException encountered: unknown argument 'axis'",
            "unknown argument 'axis'",
        ),
        (
            "Exception encountered when calling Conv2D.call().\n\n\x1b[1mNegative dimension size.\x1b[0m\n\n"
            "Arguments received by Conv2D.call():\n  • inputs=tf.Tensor(shape=(1, 2, 2, 3))",
            "Negative dimension size.",
        ),
        (
            "A total of 2 objects could not be loaded. Example error message for object <Dense name=head>:\n\n"
            "Layer 'head' expected 2 variables, but received 0.\n\nList of objects that could not be loaded:\n[<Dense>]",
            "Layer 'head' expected 2 variables, but received 0.",
        ),
        (
            "Could not locate class 'Own'. Make sure it is registered. Full object config: {'module': None, 'config': {}}",
            "Could not locate class 'Own'. Make sure it is registered.",
        ),
    ],
)
def test_the_reason_is_told_without_what_keras_writes_around_it(message: str, reason: str) -> None:
    assert reason_of(ValueError(message)) == reason


def test_a_long_message_is_cut() -> None:
    assert one_line(ValueError("abc def"), 5) == "abc d"
    assert reason_of(ValueError("abc def"), 5) == "abc d ..."


@given(st.lists(st.integers(0, 300), min_size=1))
def test_ranges_hold_every_number_once(numbers: list[int]) -> None:
    held = []
    for part in ranges(numbers).split(","):
        first, _, last = part.partition("-")
        held += range(int(first), int(last or first) + 1)
    assert held == sorted(set(numbers))
    assert ranges([12, 3, 0, 10, 11, 3]) == "0,3,10-12"
