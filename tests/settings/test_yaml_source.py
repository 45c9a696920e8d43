"""YAML files read into models: what scalars mean, where keys stand, and how mistakes are told."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, model_validator

from cam_cli.errors import ConfigError
from cam_cli.yaml_source import MAX_BYTES, KeyedError, read_tree, read_yaml

pytestmark = pytest.mark.pure


class Inner(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    size: tuple[int, int] | None = None
    scale: float = Field(1.0, gt=0)


class Card(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = ""
    count: int = Field(0, ge=0)
    share: float = 0.0
    flag: bool = True
    names: tuple[str, ...] = ()
    labels: dict[str, int] = {}
    note: str | None = "unset"
    inner: Inner = Inner()

    @model_validator(mode="after")
    def _agree(self) -> Card:
        if self.count == 13:
            raise KeyedError("count", "must not be 13;\nchoose 14")
        return self


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "run.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def mistake(folder: Path, content: str | bytes, model: type[BaseModel] = Card) -> str:
    """Return the message about `content`, its folder cut off."""
    with pytest.raises(ConfigError) as caught:
        read_yaml(write(folder, content), model)
    assert all("\n" not in each and each.startswith(str(folder)) for each in caught.value.mistakes)
    message = caught.value.mistakes[0]
    return message[len(str(folder)) + 1 :]


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("flag: no", "flag", False),
        ("flag: off", "flag", False),
        ("name: no", "name", "no"),
        ("name: 010", "name", "010"),
        ("name: 1e3", "name", "1e3"),
        ("name: 2024-01-02", "name", "2024-01-02"),
        ("name: 'null'", "name", "null"),
        ("name: =", "name", "="),
        ("name: !!str 5", "name", "5"),
        ("count: 010", "count", 10),
        ("share: 1e-3", "share", 0.001),
        ("name: 1:30", "name", "1:30"),
        ("names: [on, 1_0, ~x]", "names", ("on", "1_0", "~x")),
        ("labels: {no: 01, 5: 2}", "labels", {"no": 1, "5": 2}),
        ("note: null", "note", None),
        ("note: ~", "note", None),
        ("note:", "note", None),
        ("inner: {size: [010, 20]}", "inner", Inner(size=(10, 20))),
    ],
)
def test_scalars_mean_what_the_field_means(tmp_path: Path, line: str, key: str, value: object) -> None:
    assert getattr(read_yaml(write(tmp_path, line), Card), key) == value


@pytest.mark.parametrize("text", ["1:30", "0x10", "0o10", "five", "1.5", "", "true"])
def test_what_is_no_decimal_number_is_refused_not_reinterpreted(tmp_path: Path, text: str) -> None:
    assert mistake(tmp_path, f"count: {text}").startswith("run.yaml:1:")


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(["", "# note: 1", "   "]), max_size=3),
            st.integers(1, 7),
            st.sampled_from(["5", "'a b'", "[1, 2]", "{a: b}", "é: x"[:1]]),
        ),
        max_size=8,
    ),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_positions_are_where_the_writer_put_them(
    entries: list[tuple[list[str], int, str]], newline: str, bom: bool
) -> None:
    lines: list[str] = []
    keys: dict[str, str] = {}
    values: dict[str, str] = {}
    for number, (before, gap, value) in enumerate(entries):
        lines += before
        key = f"key{number}é"
        lines.append(f"{key}:{' ' * gap}{value}")
        keys[key] = f"{len(lines)}:1"
        values[key] = f"{len(lines)}:{len(key) + 1 + gap + 1}"
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), ("\ufeff" if bom else "") + newline.join(lines))
        tree = read_tree(path)
    top = {loc[0]: position for loc, position in tree.positions.items() if len(loc) == 1}
    assert top == {key: f"{path}:{position}" for key, position in values.items()}
    assert {loc[0]: p for loc, p in tree.key_positions.items() if len(loc) == 1} == {
        key: f"{path}:{position}" for key, position in keys.items()
    }


def test_nested_values_have_positions(tmp_path: Path) -> None:
    tree = read_tree(write(tmp_path, "inner:\n  scale: 2\n  size:\n    - 3\n    - 4\n"))
    position = f"{tmp_path}/run.yaml:"
    assert tree.positions["inner", "scale"] == position + "2:10"
    assert tree.positions["inner", "size", 1] == position + "5:7"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("count: 1\n\ncuont: 2", "run.yaml:3:1: unknown key 'cuont' (did you mean 'count'?)"),
        ("inner:\n  scael: 2", "run.yaml:2:3: unknown key 'scael' (did you mean 'scale'?)"),
        ("inner: {zzz: 2}", "run.yaml:1:9: unknown key 'zzz'; known keys: size, scale"),
        ("count: five", "run.yaml:1:8: count must be a whole number of at least 0, not 'five'"),
        ("count: -1", "run.yaml:1:8: count must be a whole number of at least 0, not '-1'"),
        ("count:", "run.yaml:1:7: count must be a whole number of at least 0, not nothing"),
        ("inner:\n  scale: 0", "run.yaml:2:10: inner.scale must be a number above 0, not '0'"),
        ("inner: 5", "run.yaml:1:8: inner must be a mapping of keys to values, not '5'"),
        (
            "inner: {size: [1]}",
            "run.yaml:1:15: inner.size must be a list of 2, each a whole number, not a list of 1",
        ),
        ("names: [a, [b]]", "run.yaml:1:12: names must be text, not a list of 1"),
        ("flag: maybe", "run.yaml:1:7: flag must be true or false, not 'maybe'"),
        ("labels: {a: b}", "run.yaml:1:13: labels.a must be a whole number, not 'b'"),
        ("share: x\ncount: y", "run.yaml:1:8: share must be a number, not 'x'"),
        ("share: 1\ncount: 13", "run.yaml:2:8: count must not be 13; choose 14"),
        ("count: 1\ncount: 2", None),
        ("- count", "run.yaml:1:1: the file must hold `key: value` lines at its top level"),
        ("count: 1\n---\ncount: 2", "run.yaml:2:1: not valid YAML: expected a single document"),
        ("name: !!python/object/apply:os.getcwd []", "run.yaml:1:7: tag '!!python/object/apply:os.getcwd'"),
        ("name: !own x", "run.yaml:1:7: tag '!own' is not read"),
        ("names: !!set {a, b}", "run.yaml:1:8: tag '!!set' is not read"),
        ("!own {a: b}", "run.yaml:1:1: tag '!own' is not read"),
        ("? [a]\n: b", "run.yaml:1:3: a key must be plain text"),
        ("~: b", "run.yaml:1:1: a key must be plain text"),
        ("<<: {name: b}", "run.yaml:1:1: merge keys"),
        ("name: b\nnames: &a [*a]", "run.yaml:2:8: this anchor holds an alias of itself"),
        ("inner: &a {b: *a}", "run.yaml:1:8: this anchor holds an alias of itself"),
        ("name: *gone", "run.yaml:1:7: not valid YAML: found undefined alias"),
        ("name: b\n\tcount: 1", "run.yaml:2:1: not valid YAML: "),
        ('name: "\\UFFFFFFFF"', "run.yaml:1:"),
        ("name: a\ncount: \x01", "run.yaml:2:8: control character '\\x01'"),
        (b"name: a\nnote: \xe9\n", "run.yaml:2: not UTF-8 text"),
        ("names: " + "[" * 60 + "]" * 60, "run.yaml:1:57: more than 10,000 values or 50 levels"),
        ("names: [" + "a, " * 10_001 + "]", "run.yaml:1:"),
        ("#" * (MAX_BYTES + 1), "run.yaml: larger than 1,048,576 bytes"),
    ],
)
def test_a_mistake_is_told_in_one_line_with_its_position(
    tmp_path: Path, content: str | bytes, message: str | None
) -> None:
    position = f"{tmp_path}/run.yaml:1:1"
    twice = f"run.yaml:2:1: key 'count' is given twice, first at {position}; keep one"
    assert mistake(tmp_path, content).startswith(message or twice)


def test_all_mistakes_are_told_in_their_order(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_yaml(write(tmp_path, "share: x\nshare: 2\ncuont: 2\ninner: {scale: 0, size: [1, b]}\nflag: !own x"), Card)
    told = [each.removeprefix(f"{tmp_path}/run.yaml:") for each in caught.value.mistakes]
    assert [each.split(" ")[0] for each in told] == ["1:8:", "2:1:", "3:1:", "4:16:", "4:29:", "5:7:", "5:7:"]
    assert str(caught.value).splitlines() == list(caught.value.mistakes)


def test_a_missing_required_key_says_what_it_must_be(tmp_path: Path) -> None:
    class Needy(BaseModel):
        size: int
        inner: Inner

    assert mistake(tmp_path, "inner: {}", Needy) == "run.yaml: key 'size' is missing; it must be a whole number"


def test_aliases_are_read_but_a_bomb_is_refused(tmp_path: Path) -> None:
    shared = "names: &n [a, b]\ninner: {size: &s [1, 2]}\nlabels: {x: &i 3, y: *i}"
    assert read_yaml(write(tmp_path, shared), Card).labels == {"x": 3, "y": 3}
    rungs = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    assert "more than 10,000 values" in mistake(tmp_path, "\n".join(["a0: &a0 [x]", *rungs]))


@pytest.mark.parametrize("content", ["", "# only a comment\n", "---\n", "\n\n"])
def test_an_empty_file_is_an_empty_mapping(tmp_path: Path, content: str) -> None:
    assert read_yaml(write(tmp_path, content), Card) == Card()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, what in [(tmp_path / "no\nne.yaml", "no such file"), (tmp_path, "this is a folder")]:
        with pytest.raises(ConfigError, match=what) as caught:
            read_tree(path)
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == 2


yaml_like = st.text(alphabet="ab01 :-,[]{}&*!?|>'\"#%@\\\n\t~<=\x07\u2028é", max_size=60)


@settings(max_examples=examples(150))
@given(st.one_of(yaml_like.map(str.encode), st.binary(max_size=60)))
def test_any_bytes_give_a_tree_or_one_line(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), content)
        mistakes: tuple[str, ...] = ()
        try:
            read_yaml(path, Card)
        except ConfigError as error:
            mistakes = error.mistakes
    assert all(each.startswith(str(path)) and len(each.splitlines()) == 1 for each in mistakes)
