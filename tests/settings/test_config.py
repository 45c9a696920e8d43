"""Run settings: their text forms, their precedence and origin, and the `config` command."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from examples import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st

import cam_cli
from cam_cli.cli.config import config as config_group
from cam_cli.cli.config import shown_yaml, starter_yaml
from cam_cli.cli.options import RunCommand, run_options
from cam_cli.cli.setting_help import flag_help, yaml_help
from cam_cli.config import NOT_IN_FINGERPRINT, SETTINGS, RunConfig, flag_name
from cam_cli.errors import ConfigError, UsageError
from cam_cli.settings import resolve
from cam_cli.yaml_source import read_tree, read_yaml

pytestmark = pytest.mark.pure

CONFIGS = Path(__file__).parent.parent.parent / "configs"

# Three different texts for every key, none of them the default: from YAML, the environment and a flag.
TEXTS = {
    "model": ("a.keras", "vgg16", "no"),
    "weights": ("a.h5", "b.h5", "c.h5"),
    "signature": ("classify", "predict", "default"),
    "model_input": ("image", "input:0", "a/b"),
    "model_output": ("gender", "scores:0", "a/b"),
    "unsafe_lambda": ("false", "yes", "on"),
    "imports": ("keras_hub", "mypackage.layers", "json"),
    "layers": ("conv1", "conv2", "a/b"),
    "methods": ("gradcam", "cam", "gradcam++"),
    "targets": ("top5", "281", "n02123045"),
    "targets_from": ("a.csv", "b.csv", "c.csv"),
    "truth": ("folder", "a.csv", "b.csv"),
    "best": ("yes", "on", "true"),
    "against": ("second", "similar:3", "281"),
    "sizes": ("224,320", "256", "128x96,256"),
    "nsamples": ("1", "auto", "3"),
    "tolerance": ("0.1", "1e-3", "2"),
    "std_dev": ("0.3", "1e-3", "0"),
    "noise_scale": ("absolute", "absolute", "absolute"),
    "seed": ("1", "2", "9223372036854775807"),
    "score": ("logit", "logit", "logit"),
    "alpha_numerator": ("first", "first", "first"),
    "derivatives": ("exact", "exact", "exact"),
    "filters": ("0", "1", "2-4"),
    "filter_maps": ("both", "both", "both"),
    "subset": ("0,1 2,3", "top:5", "0,0 0,0"),
    "region": ("false", "no", "off"),
    "output": ("a", "b", "c"),
    "write": ("raw", "heatmap", "overlay"),
    "picture_format": ("png", "png", "png"),
    "figure_format": ("svg", "pdf", "svg"),
    "contours": ("true", "yes", "on"),
    "sheet": ("true", "yes", "on"),
    "colormap": ("viridis", "magma", "turbo"),
    "opacity": ("0.1", "0.2", "1"),
    "picture_size": ("16", "17", "16384"),
    "max_pixels": ("1", "2", "3"),
    "input_size": ("1", "2x3", "4"),
    "fit": ("crop", "stretch", "letterbox"),
    "channels": ("rgb", "bgr", "grey"),
    "mean": ("1", "1,2", "3"),
    "std": ("1", "1,2", "3"),
    "labels": ("a", "b", "c"),
    "root": ("a", "b", "c"),
    "files_from": ("a", "b", "-"),
    "files_from0": ("a", "b", "-"),
    "ext": ("jpg", ".PNG", "a,b"),
    "exclude": ("raw/**", "a,b", "*.gif"),
    "limit": ("1", "2", "3"),
    "sample": ("1", "2", "3"),
    "shard": ("1/2", "2/2", " 3/8 "),
    "retry_failed": ("true", "yes", "on"),
    "max_failures": ("0", "1", "2"),
    "fail_fast": ("true", "yes", "on"),
    "lock_wait": ("1", "0.5", "1e2"),
    "progress_every": ("1", "0.5", "1e2"),
    "log_file": ("a", "b", "c"),
    "workers": ("1", "2", "3"),
    "image_timeout": ("1", "0.5", "1e2"),
    "precision": ("bfloat16", "auto", "bfloat16"),
    "device": ("cpu", "GPU", "gpu:1"),
    "runtime": ("tensorflow", "openvino", "tensorflow"),
    "batch": ("1", "2", "3"),
    "cache": ("false", "no", "off"),
    "on": ("ray", "ray://auto", "ray://[::1]:6379"),
    "actors": ("1", "2", "3"),
    "audit": ("max_failed=1%", "max_failed=2%", "min_map_correlation=0.5"),
}


def run(*arguments: str, environ: Mapping[str, str] | None = None) -> Result:
    return CliRunner().invoke(config_group, arguments, env=environ)


def failure(
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve(flags or {}, environ or {}, file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def yaml_file(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def run_flags() -> dict[str | None, click.Option]:
    command = click.command()(run_options(lambda **_: None))
    options = [option for option in command.params if isinstance(option, click.Option)]
    return {option.name: option for option in options if option.name != "config_file"}


def test_flags_and_settings_correspond_one_to_one() -> None:
    flags = run_flags()
    assert set(flags) == set(RunConfig.model_fields) == set(TEXTS)
    for key, option in flags.items():
        assert key is not None
        assert flag_name(key) in option.opts
        assert not option.is_flag or flag_name(key, False) in option.secondary_opts


def test_flag_help_states_the_default_and_the_choices_of_the_setting() -> None:
    properties = RunConfig.model_json_schema()["properties"]
    for key, option in run_flags().items():
        default = getattr(RunConfig(), str(key))
        shown = ",".join(default) if isinstance(default, tuple) else str(default)
        if isinstance(default, bool):
            shown = flag_name(str(key), default).removeprefix("--")
        stated = re.search(r"\[default: (.*)\]$", option.help or "")
        assert stated is not None, key
        assert stated[1] == shown or default in (None, ()), key
        schema = properties[key]
        choices = [schema, schema.get("items", {}), *schema.get("anyOf", [])]
        if key not in ("write", "methods", "truth") and (
            listed := [part["enum"] for part in choices if "enum" in part]
        ):
            assert option.metavar == "|".join(listed[0])
        if key == "methods":
            assert all(re.search(rf"\b{re.escape(name)}[,;.]", option.help or "") for name in schema["items"]["enum"])


def test_every_setting_has_one_short_text_with_its_choices() -> None:
    for key, setting in SETTINGS.items():
        assert setting.text, key
        assert len(setting.text) <= 135 or key == "methods", key
        choices = setting.words if setting.metavar == "|".join(setting.words) else ()
        assert all(re.search(rf"\b{word}\b", setting.text) for word in choices), key


def test_a_text_names_other_settings_as_flags_and_in_yaml_as_keys() -> None:
    assert "in units of --noise-scale. [default: 0.15]" in flag_help(SETTINGS["std_dev"])
    assert yaml_help(SETTINGS["std_dev"]).endswith("in units of noise_scale.")
    assert flag_help(SETTINGS["filters"]).endswith("0,3,10-12. [default: all]")
    assert yaml_help(SETTINGS["filters"]).endswith("0,3,10-12; null: all.")
    assert flag_help(SETTINGS["cache"]).endswith("[default: cache]")
    assert flag_help(SETTINGS["files_from"]).endswith("- is stdin. [default: none]")
    assert not any("--" in yaml_help(setting) for setting in SETTINGS.values())


def test_a_new_setting_is_one_field(tmp_path: Path) -> None:
    """In a copy of the package with one more field: flag, variable, YAML key, help and fingerprint follow from it."""
    shutil.copytree(
        Path(cam_cli.__file__).parent, tmp_path / "cam_cli", ignore=shutil.ignore_patterns("bundled", "__pyc*")
    )
    source = tmp_path / "cam_cli" / "config.py"
    anchor = "    region: bool ="
    field = '    blur: float = _maps(0.5, "Width of a blur, in units of --std-dev.", "X", ge=0)\n'
    assert anchor in source.read_text("utf-8")
    source.write_text(source.read_text("utf-8").replace(anchor, field + anchor, 1), "utf-8")

    def smoothcam(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environ = {"PYTHONPATH": str(tmp_path), **variables}
        command = [sys.executable, "-m", "cam_cli", *arguments]
        return subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)

    shown = json.loads(smoothcam("config", "show", "--json", "--blur", "2").stdout)
    assert shown["blur"] == {"value": 2.0, "origin": "flag --blur"}
    shown = json.loads(smoothcam("config", "show", "--json", SMOOTHCAM_BLUR="3").stdout)
    assert shown["blur"] == {"value": 3.0, "origin": "environment SMOOTHCAM_BLUR"}
    starter = smoothcam("config", "init").stdout
    assert "# Width of a blur, in units of std_dev.\nblur: 0.5\n" in starter
    help_text = " ".join(smoothcam("explain", "--help-all").stdout.split())
    assert "--blur X Width of a blur, in units of --std-dev. [default: 0.5]" in help_text
    refused = smoothcam("config", "show", "--blur", "-1")
    assert "--blur: must be a number of at least 0, not '-1'" in refused.stderr
    code = "from cam_cli.config import RunConfig; print(RunConfig().result_settings()['blur'])"
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ended.stdout == "0.5\n"


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("cam_cli.cli", {"pydantic", "yaml", "tensorflow", "numpy"}),
        ("cam_cli.cli.options", {"tensorflow", "keras", "numpy", "PIL"}),
        ("cam_cli.cli.config", {"tensorflow", "keras", "numpy", "PIL"}),
        ("cam_cli.cli.explain", {"tensorflow", "keras", "numpy", "PIL"}),
    ],
)
def test_commands_are_imported_without_heavy_libraries(module: str, heavy: set[str]) -> None:
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("key", TEXTS)
def test_flag_wins_over_environment_over_file_over_default(tmp_path: Path, key: str) -> None:
    in_file, in_environment, on_line = TEXTS[key]
    needed: dict[str, dict[str, object]] = {"filter_maps": {"filters": "0"}, "sizes": {"methods": ("twoscale",)}}
    context = needed.get(key, {})
    path = yaml_file(tmp_path, f"\n{key}:  {in_file}\n")
    variable = f"SMOOTHCAM_{key.upper()}"
    positions = (f"{path}:2:{len(key) + 4}", f"environment {variable}", f"flag {flag_name(key)}")
    for use_file, use_environment, use_flag in itertools.product([False, True], repeat=3):
        resolved = resolve(
            {**context, key: on_line if use_flag else None, "targets" if key != "targets" else "layers": ()},
            {variable: in_environment if use_environment else "", "HOME": "x"},
            path if use_file else None,
        )
        given = [use_file, use_environment, use_flag]
        winner = max((index for index in range(3) if given[index]), default=None)
        alone = RunConfig() if winner is None else RunConfig.model_validate({**context, key: TEXTS[key][winner]})
        assert getattr(resolved.config, key) == getattr(alone, key)
        assert resolved.origin[key] == ("default" if winner is None else positions[winner])
        assert set(resolved.origin) == set(RunConfig.model_fields)
        if winner is not None and key != "region" and (key, winner) != ("unsafe_lambda", 0):
            assert getattr(resolved.config, key) != getattr(RunConfig(), key)


def test_code_is_allowed_by_a_flag_or_a_variable_and_never_by_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = yaml_file(tmp_path, "seed: 1\nunsafe_lambda: true\n")
    assert failure(file=file).startswith(f"{file}:2:16: unsafe_lambda is not taken from a file")
    assert run("check", str(file)).exit_code == 2
    assert "is not taken from a file" in failure(file=file.rename("flag --unsafe-lambda.yaml"))
    file = yaml_file(tmp_path, "seed: 1\nunsafe_lambda: true\n")
    assert resolve({"unsafe_lambda": True}, {}, file).config.unsafe_lambda
    assert not resolve({}, {"SMOOTHCAM_UNSAFE_LAMBDA": "no"}, file).config.unsafe_lambda


def test_every_setting_but_these_is_a_result_setting() -> None:
    counted_otherwise = {"weights", "targets_from", "truth"}
    pictures_and_paths = {"output", "sheet", "max_pixels", "unsafe_lambda"}
    which_images = {"root", "files_from", "files_from0", "ext", "exclude", "limit", "sample", "shard"}
    how_to_run = {"retry_failed", "max_failures", "fail_fast", "lock_wait", "workers", "image_timeout"}
    how_fast = {"device", "runtime", "batch", "cache", "on", "actors"}
    telling = {"progress_every", "log_file", "audit"}
    beside = pictures_and_paths | which_images | how_to_run | how_fast | telling
    assert beside | counted_otherwise == NOT_IN_FINGERPRINT
    for key, (text, *_) in TEXTS.items():
        values: dict[str, object] = {"subset": "0,0 1,1", key: text}
        values |= {"methods": "twoscale"} if key == "sizes" else {}
        base: dict[str, object] = {"subset": "0,0 1,1"}
        if key == "region":
            values["region"] = "yes"
        if key == "sizes":
            values["methods"] = base["methods"] = "twoscale"
        if key == "figure_format":
            values["write"] = base["write"] = "figure"
        changed = RunConfig.model_validate(values).result_settings()
        assert (changed == RunConfig.model_validate(base).result_settings()) == (key in NOT_IN_FINGERPRINT), key
        assert json.loads(json.dumps(changed, allow_nan=False)) == changed


def test_settings_of_pictures_that_are_not_written_do_not_change_the_fingerprint() -> None:
    raw = RunConfig.model_validate({"write": "raw,heatmap"}).result_settings()
    for key, value in (("picture_format", "png"), ("figure_format", "svg"), ("contours", "yes")):
        assert RunConfig.model_validate({"write": "raw,heatmap", key: value}).result_settings() == raw
        assert key not in raw
    for files, keys in (("joint", {"picture_format"}), ("figure", {"figure_format"})):
        assert keys <= RunConfig.model_validate({"write": files}).result_settings().keys()


def test_pngs_without_contours_have_the_fingerprint_that_they_had_before_there_was_a_choice() -> None:
    before = RunConfig.model_validate({"picture_format": "png", "contours": "no"}).result_settings()
    assert not {"picture_format", "contours", "figure_format"} & before.keys()


def test_the_order_of_files_to_write_does_not_change_the_fingerprint() -> None:
    one, other = (RunConfig.model_validate({"write": text}) for text in ("overlay,raw", "raw, overlay, raw"))
    assert one.result_settings() == other.result_settings()


@given(st.lists(st.tuples(st.integers(0, 99_000), st.integers(0, 20)), min_size=1, max_size=6), st.booleans())
def test_filters_are_the_sorted_union_of_numbers_and_ranges(ranges: list[tuple[int, int]], as_list: bool) -> None:
    parts = [f"{first}-{first + more}" if more else str(first) for first, more in ranges]
    expected = sorted(set().union(*(range(first, first + more + 1) for first, more in ranges)))
    value = parts if as_list else ", ".join(parts)
    assert list(RunConfig.model_validate({"filters": value}).filters or ()) == expected


@pytest.mark.parametrize("text", ["12-10", "-1", "3-", "1..4", "a", "", "0,", "0 3", "1.0", "1e2", "0-1000000", "٣"])
def test_junk_filters_are_refused_with_the_accepted_form(text: str) -> None:
    message = failure({"filters": text})
    assert message.startswith("--filters: must be")
    assert "0,3,10-12" in message


@given(st.lists(st.tuples(st.integers(0, 99_999), st.integers(0, 99_999)), min_size=1, max_size=5))
def test_subset_reads_text_and_lists_alike(pairs: list[tuple[int, int]]) -> None:
    spaced = "  ".join(f"{row}, {column}" for row, column in pairs)
    for value in (
        spaced,
        [list(pair) for pair in pairs],
        [f"{row},{column}" for row, column in pairs],
        pairs,
    ):
        assert RunConfig.model_validate({"subset": value}).subset == tuple(pairs)


@pytest.mark.parametrize("value", ["", "1", "1,2,3", "1 2", "-1,0", "1,x", [], [[1]], [1, 2], [[1, 2], None]])
def test_junk_subsets_are_refused_with_the_accepted_form(value: object) -> None:
    assert "0,10" in failure({"subset": value})


@pytest.mark.parametrize(
    ("value", "size"),
    [("224", (224, 224)), ("200x300", (200, 300)), ("200 x 300", (200, 300)), (["20", "30"], (20, 30))],
)
def test_input_size_is_height_then_width(value: object, size: tuple[int, int]) -> None:
    assert resolve({"input_size": value}, {}, None).config.input_size == size


@pytest.mark.parametrize("value", ["", "0", "x3", "3x", "1x2x3", "0x5", "-3", "2.5", [1, 2, 3], [[1]]])
def test_junk_input_sizes_are_refused(value: object) -> None:
    assert "224x224" in failure({"input_size": value})


def test_names_may_hold_any_character_and_words_are_split_at_commas(tmp_path: Path) -> None:
    path = yaml_file(tmp_path, "layers: ['a, b: #c']\ntargets: [tench, Tinca]\nwrite: overlay , raw\n")
    config = resolve({"methods": ("gradcam,cam", "gradcam")}, {}, path).config
    assert config.layers == ("a, b: #c",)
    assert config.targets == ("tench", "Tinca")
    assert config.write == ("raw", "overlay")
    assert config.methods == ("gradcam", "cam")


def test_the_environment_gives_names_one_per_line_and_words_by_comma() -> None:
    environ = {"SMOOTHCAM_TARGETS": "great grey owl, Strix\n\ntop5\n", "SMOOTHCAM_METHODS": "cam, gradcam"}
    environ |= {"SMOOTHCAM_EXCLUDE": "a,b\n*.gif", "SMOOTHCAM_FILES_FROM": "one, two\n-", "SMOOTHCAM_EXT": "jpg, .PNG"}
    config = resolve({}, environ, None).config
    assert config.targets == ("great grey owl, Strix", "top5")
    assert config.methods == ("cam", "gradcam")
    assert config.exclude == ("a,b", "*.gif")
    assert config.files_from == (Path("one, two"), Path("-"))
    assert config.ext == ("jpg", "png")


@pytest.mark.parametrize(
    ("key", "repeated", "commas", "value"),
    [
        ("layers", ("a", "b"), "a,b", ("a", "b")),
        ("methods", ("cam", "gradcam"), "cam,gradcam", ("cam", "gradcam")),
        ("targets", ("top5", "281"), "top5,281", ("top5", "281")),
        ("imports", ("a.b", "c"), "a.b,c", ("a.b", "c")),
        ("write", ("overlay", "raw"), "overlay,raw", ("raw", "overlay")),
        ("filters", ("0,3", "10-11"), "0,3,10-11", (0, 3, 10, 11)),
        ("subset", ("0,10", "12,12"), "0,10 12,12", ((0, 10), (12, 12))),
        ("mean", ("1", "2", "3"), "1,2,3", (1.0, 2.0, 3.0)),
        ("std", ("1", "2", "3"), "1,2,3", (1.0, 2.0, 3.0)),
        ("ext", ("jpg", "png"), "jpg,png", ("jpg", "png")),
        ("exclude", ("a[,]b", "c"), "a[,]b,c", ("a[,]b", "c")),
        ("files_from", ("a", "b"), "a,b", (Path("a"), Path("b"))),
        ("files_from0", ("a", "b"), "a,b", (Path("a"), Path("b"))),
        (
            "audit",
            ("max_failed=1%", "max_blank=2%"),
            "max_failed=1%,max_blank=2%",
            {"max_failed": 0.01, "max_blank": 0.02},
        ),
    ],
)
def test_a_list_takes_commas_and_the_flag_again(
    tmp_path: Path, key: str, repeated: tuple[str, ...], commas: str, value: object
) -> None:
    assert run_flags()[key].multiple
    assert getattr(resolve({key: repeated}, {}, None).config, key) == value
    assert getattr(resolve({key: (commas,)}, {}, None).config, key) == value
    assert getattr(resolve({}, {f"SMOOTHCAM_{key.upper()}": commas}, None).config, key) == value
    assert getattr(resolve({}, {}, yaml_file(tmp_path, f"{key}: '{commas}'\n")).config, key) == value


def test_every_list_is_repeatable() -> None:
    """A flag that holds one value, given twice, would lose the first without a word."""
    many = {key for key, setting in SETTINGS.items() if setting.metavar in ("LIST", "PAIRS") or setting.many}
    assert {key for key, option in run_flags().items() if option.multiple} == many


def test_a_file_whose_name_has_a_comma_is_one_file(tmp_path: Path) -> None:
    (tmp_path / "a,b").touch()
    assert resolve({"files_from": (f"{tmp_path}/a,b",)}, {}, None).config.files_from == (tmp_path / "a,b",)


@given(st.data(), st.integers(1, 100_000))
def test_a_shard_is_a_part_counted_from_1(data: st.DataObject, count: int) -> None:
    index = data.draw(st.integers(1, count))
    for text in (f"{index}/{count}", f" 0{index} / {count} "):
        assert RunConfig.model_validate({"shard": text}).shard == f"{index}/{count}"


@pytest.mark.parametrize(
    "text", ["", "x", "2", "2/", "/8", "1/2/3", "-1/8", "9/8", "0/0", "1/0", "1/100001", "1.0/2", 3]
)
def test_junk_shards_are_refused_with_the_accepted_form(text: object) -> None:
    assert "must be I/N, such as 2/8, with I from 1 to N" in failure({"shard": text})


def test_shard_0_gets_a_hint_that_works_in_a_slurm_array(tmp_path: Path) -> None:
    message = failure({"shard": "0/8"})
    assert "--array=1-8" in message
    hint = re.search(r"--shard (\S.*/8)", message)
    assert hint
    environ = {"SLURM_ARRAY_TASK_ID": "0"}
    shell = subprocess.run(["sh", "-c", f"echo {hint[1]}"], env=environ, capture_output=True, text=True, check=True)
    assert RunConfig.model_validate({"shard": shell.stdout.strip()}).shard == "1/8"
    path = yaml_file(tmp_path, "shard: 0/8\n")
    assert failure(file=path).startswith(f"{path}:1:8: shard counts from 1")
    assert resolve({}, {}, yaml_file(tmp_path, "shard: 2/8\n")).config.shard == "2/8"


@pytest.mark.parametrize("value", ["jpg,PNG", ".jpg, .png, JPG", ["Jpg", ".png"], ("jpg,png",)])
def test_endings_forgive_dots_and_case(value: object) -> None:
    assert RunConfig.model_validate({"ext": value}).ext == ("jpg", "png")


@pytest.mark.parametrize("value", ["", ",", "*.jpg", "a/b", "tar.gz", "jpg png", [], ["jp?"]])
def test_junk_endings_are_refused(value: object) -> None:
    assert failure({"ext": value}).startswith("--ext: must be ")


@pytest.mark.parametrize(
    ("flags", "position"),
    [
        ({"files_from": ("-", "a", "-")}, "--files-from:"),
        ({"files_from0": ("-", "-")}, "--files-from0:"),
        ({"files_from": ("-",), "files_from0": ("-",)}, "--files-from0:"),
    ],
)
def test_stdin_is_read_once_only(flags: dict[str, object], position: str) -> None:
    assert failure(flags).startswith(f"{position} reads stdin a second time")


@pytest.mark.parametrize("value", ["-", ["-", "a,b"], (Path("-"), Path("b"))])
def test_lists_of_images_are_repeatable(value: Any) -> None:
    expected = [Path(item) for item in (value if isinstance(value, list | tuple) else [value])]
    assert list(RunConfig.model_validate({"files_from0": value}).files_from0) == expected


@pytest.mark.parametrize(
    "text",
    [
        "spark",
        "ray:",
        "ray://",
        "ray:/head",
        "ray://head:",
        "ray://head:port",
        "ray://a b",
        "ray://u@head",
        "Ray",
        "rays",
    ],
)
def test_what_is_no_ray_cluster_is_refused(text: str) -> None:
    message = f"--on: must be ray, ray://auto or ray://HOST:PORT, not {text!r}"
    assert failure({"on": text}) == message


def test_a_card_is_not_named_where_ray_gives_them_out(tmp_path: Path) -> None:
    file = yaml_file(tmp_path, "on: ray\ndevice: gpu:1\n")
    assert failure(file=file).endswith(
        ":2:9: device gpu:1 does not go with Ray, which gives each actor a GPU of its own; take gpu"
    )


def test_fail_fast_and_another_bound_on_failures_contradict_each_other() -> None:
    message = "--fail-fast: contradicts max_failures 3; leave one of them out"
    assert failure({"fail_fast": True}, {"SMOOTHCAM_MAX_FAILURES": "3"}) == message
    for bound in (None, 0, "0"):
        assert resolve({"fail_fast": True, "max_failures": bound}, {}, None).config.fail_fast
    assert resolve({"fail_fast": False, "max_failures": 3}, {}, None).config.max_failures == 3


@pytest.mark.parametrize("key", ["lock_wait", "progress_every", "image_timeout"])
def test_times_are_seconds_that_a_timer_can_hold(key: str) -> None:
    assert getattr(resolve({key: "1e6"}, {}, None).config, key) == 1e6
    for text in ("-1", "x", "inf", "nan", *(["0", "1e7"] if key != "lock_wait" else [])):
        assert f"{flag_name(key)}: must be a " in failure({key: text})


def listed(flag: str) -> dict[str, set[str]]:
    """Return the options that a help lists, by section."""
    command = click.command(cls=RunCommand)(click.option("--json", is_flag=True)(run_options(lambda **_: None)))
    text = CliRunner().invoke(command, [flag]).stdout
    sections = dict(re.findall(r"^(\w+):\n((?:  .*\n)+)", text, re.MULTILINE))
    return {title: set(re.findall(r"^  (?:-\w, )?--([\w-]+)", body, re.MULTILINE)) for title, body in sections.items()}


def test_the_short_help_lists_what_most_people_need() -> None:
    shown = listed("--help")
    assert list(shown) == ["Images", "Model", "Maps", "Output", "Options"]
    assert shown["Images"] >= {"limit", "sample"}
    assert shown["Maps"] >= {"layer", "method", "target"}
    flags = {name for title in shown if title != "Options" for name in shown[title]}
    assert flags == {flag_name(key).removeprefix("--") for key, setting in SETTINGS.items() if setting.common}
    assert 10 <= len(flags) <= 20


def test_help_all_lists_every_flag_once_and_by_what_it_is_about() -> None:
    shown = sections = listed("--help-all")
    assert list(sections) == ["Images", "Model", "Maps", "Output", "Run", "Options"]
    assert shown["Options"] == {"config", "json", "help", "help-all"}
    flags = [name for title in sections if title != "Options" for name in shown[title]]
    assert sorted(flags) == sorted(flag_name(key).removeprefix("--") for key in RunConfig.model_fields)
    assert {"shard", "exclude"} < shown["Images"]
    assert {"workers", "fail-fast", "log-file"} < shown["Run"]


@pytest.mark.parametrize(
    ("flags", "environ", "message"),
    [
        ({"exclude": ("a\udcff",)}, {}, "--exclude: must be UTF-8 text, .*write [*] for"),
        ({"exclude": ("",)}, {}, "--exclude: must be text that is not empty"),
        ({"files_from": ("",)}, {}, "--files-from: must be a path"),
        ({"workers": "0"}, {}, "--workers: must be a whole number from 1 to 256, not '0'"),
        ({"max_failures": "-1"}, {}, "--max-failures: must be a whole number of at least 0"),
        ({"std_dev": "x"}, {}, "--std-dev: must be a number of at least 0, not 'x'"),
        ({}, {"SMOOTHCAM_STD_DEV": "nan"}, "SMOOTHCAM_STD_DEV: must be a finite number"),
        ({"layers": ("a", "")}, {}, "--layer: must be text that is not empty, not ''"),
        ({"methods": ("gradcm",)}, {}, "--method: must be one of .*'gradcm' .did you mean 'gradcam'"),
        ({"write": ","}, {}, "--write: must be one of raw, heatmap, overlay, joint, figure, not ''"),
        ({"seed": str(2**63)}, {}, "--seed: must be a whole number from 0 to 9223372036854775807"),
        ({"opacity": "0"}, {}, "--opacity: must be a number above 0 and of at most 1"),
        ({"std": "0"}, {}, "--std: must be a number above 0"),
        ({"output": ""}, {}, "--output: must be a path"),
        ({"region": True}, {}, "--region: needs subset"),
        ({"limit": "3", "sample": "2"}, {}, "--sample: contradicts limit 3"),
        ({"limit": "0"}, {}, "--limit: must be a whole number from 1 to"),
        (
            {"region": True},
            {"SMOOTHCAM_SUBSET": "0,0"},
            "SMOOTHCAM_SUBSET: must be exactly two corners",
        ),
        ({"region": True, "subset": "0,0 1,1 2,2"}, {}, "--subset: must be exactly two corners"),
        ({}, {"SMOOTHCAM_FILTER_MAPS": "each"}, "SMOOTHCAM_FILTER_MAPS: 'each' needs filters"),
        ({}, {"SMOOTHCAM_STDDEV": "1"}, "SMOOTHCAM_STDDEV: unknown .*did you mean 'SMOOTHCAM_STD_DEV'"),
        ({}, {"SMOOTHCAM_CONFIG": "gone.yaml"}, "SMOOTHCAM_CONFIG: no such file gone.yaml"),
    ],
)
def test_mistakes_name_the_flag_or_variable(flags: dict[str, object], environ: dict[str, str], message: str) -> None:
    assert re.match(message, failure(flags, environ))


def test_cross_checks_see_all_sources_and_name_the_key_at_fault(tmp_path: Path) -> None:
    path = yaml_file(tmp_path, "region: yes\n")
    assert resolve({"subset": "0,10 12,12"}, {}, path).config.subset == ((0, 10), (12, 12))
    assert failure(file=path).startswith(f"{path}:1:9: region needs subset")


def test_an_overridden_mistake_does_not_keep_its_position(tmp_path: Path) -> None:
    path = yaml_file(tmp_path, "methods: [gradcm]\n")
    assert resolve({"methods": ("cam",)}, {}, path).config.methods == ("cam",)
    assert failure({"methods": ("cam", "x")}, {}, path).startswith("--method: ")
    assert failure(file=path).startswith(f"{path}:1:11: methods must be one of")


def test_the_environment_names_the_file_unless_a_flag_does(tmp_path: Path) -> None:
    ours, other = tmp_path / "ours.yaml", tmp_path / "other.yaml"
    ours.write_text("seed: 1")
    other.write_text("seed: 2")
    environ = {"SMOOTHCAM_CONFIG": str(other)}
    assert resolve({}, environ, None).config.seed == 2
    assert resolve({}, environ, ours).config.seed == 1


@settings(max_examples=examples(40), deadline=None)
@given(
    st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=3),
    st.floats(0, 1e300, allow_nan=False),
    st.one_of(st.none(), st.sampled_from(["no", "null", "~", "010", "1e3", "a: b", "#c", " x "])),
)
@example(layers=["a\n# b: c", "\x85\u2028"], std_dev=1e-7, model="no")
def test_shown_settings_read_back_as_themselves(layers: list[str], std_dev: float, model: str | None) -> None:
    resolved = resolve(
        {
            "layers": layers,
            "std_dev": std_dev,
            "model": model,
            "subset": "0,1 2,3",
            "filters": "0,7-9",
            "exclude": ["*.gif", *layers],
            "files_from": ["-", "no, really"],
            "ext": "jpg,no",
            "shard": "2/8",
        },
        {},
        None,
    )
    text = shown_yaml(resolved)
    assert len(text.splitlines()) == len(RunConfig.model_fields)
    with tempfile.TemporaryDirectory() as folder:
        assert read_yaml(yaml_file(Path(folder), text), RunConfig) == resolved.config


def test_init_writes_the_defaults_and_never_overwrites_unasked(tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    assert run("init", str(path)).exit_code == 0
    assert run("init").stdout == run("init", "-").stdout == path.read_text() == starter_yaml()
    assert run("check", str(path)).exit_code == 0
    assert read_yaml(path, RunConfig) == RunConfig()
    assert {loc[0] for loc in read_tree(path).positions} == set(RunConfig.model_fields)
    path.write_text("seed: 1\n")
    refused = run("init", str(path))
    assert isinstance(refused.exception, UsageError)
    assert path.read_text() == "seed: 1\n"
    assert run("init", str(path), "--force").exit_code == 0
    assert path.read_text() == starter_yaml()
    assert isinstance(run("init", str(tmp_path / "no" / "x.yaml")).exception, UsageError)


def test_init_is_grouped_as_the_help_is() -> None:
    keys = re.findall(r"^# ---- (\w+) -+$|^(\w+): ", starter_yaml(), re.MULTILINE)
    section, found = "", {}
    for title, key in keys:
        section = title or section
        if key:
            found[key] = section
    assert found == {key: setting.section for key, setting in SETTINGS.items()}


def test_all_mistakes_of_a_file_are_told_at_once_in_their_order(tmp_path: Path) -> None:
    text = "nsamples: -3\nsampels: 4\ncolormap: blu\nwrite: [raw, heatmp]\nnsamples: 5\nseed: !x 3\n"
    done = run("check", str(yaml_file(tmp_path, text)))
    lines = [line.partition("run.yaml:")[2] for line in done.stderr.splitlines()]
    assert [line.partition(" ")[0] for line in lines] == ["1:11:", "2:1:", "3:11:", "4:14:", "5:1:", "6:7:"]
    for line, said in zip(lines, ["nsamples must", "'sampels'", "'blu'", "'heatmap'?", "twice", "'!x'"], strict=True):
        assert said in line
    assert done.exit_code == 2


def test_check_reports_every_file(tmp_path: Path) -> None:
    good = yaml_file(tmp_path, "seed: 3\n")
    bad = tmp_path / "bad.yaml"
    bad.write_text("sampels: 3\n")
    done = run("check", str(bad), str(good), str(tmp_path / "gone.yaml"))
    assert done.exit_code == 2
    assert done.stdout == f"{good}: ok\n"
    assert "bad.yaml:1:1: unknown key 'sampels' (did you mean 'nsamples'?)\n" in done.stderr
    assert "gone.yaml: no such file" in done.stderr
    assert run("check").exit_code == 2


def test_show_prints_values_with_their_origin(tmp_path: Path) -> None:
    path = yaml_file(tmp_path, "std_dev: 0.3\n")
    arguments = ("show", "-c", str(path), "--layer", "a", "--layer", "b", "--no-sheet")
    done = run(*arguments, environ={"SMOOTHCAM_SEED": "7"})
    lines = {line.partition(":")[0]: line for line in done.stdout.splitlines()}
    assert re.fullmatch(r"layers: \[a, b\] +# flag --layer", lines["layers"])
    assert re.fullmatch(r"sheet: false +# flag --no-sheet", lines["sheet"])
    assert re.fullmatch(r"seed: 7 +# environment SMOOTHCAM_SEED", lines["seed"])
    assert re.fullmatch(rf"std_dev: 0\.3 +# {re.escape(str(path))}:1:10", lines["std_dev"])
    assert re.fullmatch(r"region: false +# default", lines["region"])
    shown = yaml_file(tmp_path, done.stdout)
    assert run("check", str(shown)).exit_code == 0
    as_json = json.loads(run(*arguments[:1], "--json", "--seed", "7").stdout)
    assert as_json["seed"] == {"value": 7, "origin": "flag --seed"}
    assert as_json["output"] == {"value": "smoothcam_out", "origin": "default"}


def test_origins_are_aligned() -> None:
    columns = {line.index("# ") for line in run("show").stdout.splitlines()}
    assert len(columns) == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("paper", {"layers": ("block5_conv3",), "nsamples": 5, "std_dev": 0.3}),
        ("quick", {"methods": ("gradcam++",), "write": ("overlay",), "sheet": True}),
        ("audit", {"targets": ("predicted",), "write": ("raw", "overlay"), "seed": 0}),
    ],
)
def test_shipped_configs_keep_what_they_are_for(name: str, expected: dict[str, object]) -> None:
    config = read_yaml(CONFIGS / f"{name}.yaml", RunConfig)
    assert {key: getattr(config, key) for key in expected} == expected


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_config_loads_and_says_how_to_use_it(path: Path) -> None:
    read_yaml(path, RunConfig)
    assert re.search(rf"^# Use: smoothcam explain .*--config configs/{path.name}\b", path.read_text(), re.MULTILINE)


def test_actors_write_to_a_folder() -> None:
    with pytest.raises(ConfigError, match=r"output.*s3://bucket/out is no folder"):
        resolve({"on": "ray", "output": "s3://bucket/out"}, {}, None)
