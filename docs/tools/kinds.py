"""Prints the table of the kinds of models in docs/models.md, after running the tests that show each row; `make kinds`.

A row without a test, or with a failing one, is printed as failed, and the command ends with 1.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
MATRIX = "tests/engine/test_model_matrix.py::"
TAPE = "tests/engine/test_kinds_of_models.py::test_maps_are_those_of_a_gradient_tape"
SCORES = "tests/engine/test_scores.py::"
SCALING = "tests/graph/test_scaling.py::"
WINDOWS = "tests/graph/test_window_of_layers.py::"
TOKENS = "tests/engine/test_methods.py::"
HONESTY = "tests/engine/test_honesty.py::"
LOAD = "tests/models/test_load.py::"
KERAS_2 = "tests/model_files/test_keras_2.py::"
OWN = "tests/model_files/test_own_layers.py::"
FROZEN = "tests/frozen_graphs/test_frozen.py::"
FORMS = f"{MATRIX}test_every_form_equals_its_functional_twin_and_stays_as_it_was"


@dataclass(frozen=True)
class Row:
    """A row of the table: a kind of model, what is done with it, and the tests that show it."""

    kind: str
    verdict: str
    tests: tuple[str, ...]


ROWS = (
    Row(
        "Functional, Sequential (also built late), subclassed, compiled and trained, frozen, regularised, float64",
        "yes",
        (FORMS, TAPE, f"{MATRIX}test_a_subclass_that_calls_relu_and_softmax_itself"),
    ),
    Row(
        "a backbone nested once or twice (names with dots, whole path or unique suffix), composite layers, layers "
        "with equal names",
        "yes",
        (FORMS, f"{TAPE}[nested]"),
    ),
    Row(
        "a shared layer used twice",
        "explained at its last call",
        (f"{MATRIX}test_a_shared_layer_is_explained_at_its_last_call",),
    ),
    Row(
        "softmax fused in Dense, as a layer, as `Activation`, as an operation, before a reshape; multi-label sigmoid; one "
        "sigmoid unit, either class; logits",
        "yes",
        (FORMS, f"{TAPE}[one_unit]", f"{MATRIX}test_one_sigmoid_unit_is_explained_on_either_side"),
    ),
    Row("mixed precision float16 and bfloat16", "yes", (f"{MATRIX}test_mixed_precision_keeps_the_picture",)),
    Row(
        "grey, RGBA, any number of channels (from TIFF files, arrays or Python), non-square, fully convolutional",
        "yes",
        (
            FORMS,
            f"{MATRIX}test_any_number_of_channels_and_any_format",
            f"{LOAD}test_a_model_of_any_other_number_of_channels_takes_the_bands_of_a_file",
        ),
    ),
    Row(
        "preprocessing (as layers or as operations), resizing, batch norm and dropout inside the model",
        "yes",
        (
            f"{SCALING}test_the_values_that_a_network_is_made_for",
            f"{MATRIX}test_preprocessing_inside_the_model",
            f"{MATRIX}test_resizing_inside_the_model",
            f"{MATRIX}test_batch_norm_and_dropout_run_as_in_inference",
        ),
    ),
    Row(
        "inputs of whole numbers, such as `uint8`",
        "yes; noise is added to them as floating-point numbers",
        (f"{TAPE}[scaled_inside]", f"{SCORES}test_an_input_of_another_type_is_explained_as_its_twin_of_floats"),
    ),
    Row(
        "averages of softmaxes or sigmoids, clipped or smoothed probabilities, a softmax of each cell, a softmax written out "
        "as operations",
        "yes, by their log probability",
        (
            f"{TAPE}[mean_of_two_softmaxes]",
            f"{TAPE}[smoothed_probabilities]",
            f"{TAPE}[softmax_of_each_cell]",
            f"{SCORES}test_predictions_are_the_models_own",
            f"{SCORES}test_without_a_logit_the_log_probability_is_differentiated",
        ),
    ),
    Row(
        "ensembles: no layer has all information",
        "yes; `auto` takes the last activation of one part, and says so",
        (f"{HONESTY}test_an_ensemble_is_explained_by_its_log_probability_at_a_layer_of_one_part",),
    ),
    Row(
        "dropout or noise that stays on for prediction",
        "one draw is explained, and said so; derivatives count as approximate",
        (
            f"{HONESTY}test_dropout_that_stays_on_is_said_and_nothing_is_called_exact",
            f"{SCORES}test_a_network_of_chance_is_explained_alike_in_any_company_and_never_called_exact",
        ),
    ),
    Row(
        "crops, paddings, flips and swapped axes inside the model, as layers or as operations",
        "yes, drawn where the grid lies; refused where that cannot be told",
        (
            f"{WINDOWS}test_heat_lies_where_layers_of_keras_leave_the_image",
            f"{WINDOWS}test_heat_lies_where_plain_operations_leave_the_image",
            f"{WINDOWS}test_what_cannot_be_told_is_refused_for_the_layer_and_not_for_the_input",
        ),
    ),
    Row(
        "recurrent, attention, squeeze-and-excite and layer-norm heads",
        "yes, with `derivatives: approximate`",
        (
            f"{MATRIX}test_recurrent_and_attention_heads",
            f"{TAPE}[recurrent]",
            f"{TAPE}[attention]",
            f"{TAPE}[subclassed]",
        ),
    ),
    Row(
        "vision transformers: tokens on their grid, class token dropped; inferred, or declared with "
        "`tokens: {grid: [14, 14], class_tokens: 1}` in the card",
        "yes",
        (
            f"{TOKENS}test_tokens_lie_on_their_grid",
            f"{TOKENS}test_auto_takes_tokens_that_the_score_reads",
            f"{WINDOWS}test_tokens_lie_where_their_patches_do",
        ),
    ),
    Row(
        "`.h5` and `.keras` files of Keras 3 and of Keras 2 (2.13 and 2.15 by their own files), also with own losses, metrics "
        "and schedules; weights files",
        "yes",
        (
            f"{KERAS_2}test_a_file_that_keras_2_wrote_gives_what_keras_2_computed",
            f"{KERAS_2}test_a_network_of_tf_keras_gives_the_same_from_both_formats",
            f"{OWN}test_what_is_for_training_alone_is_not_judged",
            f"{LOAD}test_the_content_decides_how_a_file_is_read",
        ),
    ),
    Row(
        "files of Keras 2 with operations between layers, such as `x / 255.` or `preprocess_input(x)`",
        "yes, for a list of operations; others are named",
        (
            f"{KERAS_2}test_a_network_of_tf_keras_gives_the_same_from_both_formats",
            f"{KERAS_2}test_only_operations_of_the_list_are_called",
        ),
    ),
    Row(
        "layers of your own, keras_hub",
        "with `--import MODULE`",
        (f"{OWN}test_an_imported_module_brings_its_layers", f"{OWN}test_the_command_imports_and_records_it"),
    ),
    Row(
        "Lambda, TFSMLayer and other layers that contain code",
        "only with `--unsafe-lambda`, which runs that code",
        (
            f"{LOAD}test_a_lambda_runs_only_when_asked",
            "tests/hostile/test_hostile_models.py::test_code_in_a_model_file_runs_only_when_asked",
        ),
    ),
    Row(
        "SavedModel of TensorFlow 1 and 2, frozen `.pb`, `.tflite` (quantised ones as the float network they stand for)",
        "yes, [nothing of them is run](security.md)",
        (
            f"{FROZEN}test_maps_and_scores_are_those_of_the_keras_model",
            f"{FROZEN}test_a_saved_model_of_tensorflow_1_gets_its_variables_from_its_checkpoint",
            "tests/hostile/test_hostile_graphs.py",
        ),
    ),
    Row(
        "several outputs",
        "one by `--model-output`",
        (
            f"{FROZEN}test_an_output_of_a_keras_model_is_chosen_by_its_name",
            f"{LOAD}test_outputs_that_cannot_be_told_apart_are_listed",
        ),
    ),
    Row(
        "several inputs; a Keras model with channels first; ONNX; training graphs",
        "refused, with a message of one line",
        (
            f"{MATRIX}test_what_cannot_be_explained_is_refused_in_one_line_and_left_alone",
            f"{LOAD}test_what_is_no_model_is_told_for_what_it_is",
            "tests/hostile/test_hostile_graphs.py",
        ),
    ),
)


def table(failed: frozenset[Row] = frozenset()) -> str:
    """Return the table in Markdown."""
    rows = [f"| {row.kind} | {'FAILED' if row in failed else row.verdict} |" for row in ROWS]
    return "\n".join(["| kind of model | tested |", "|---|---|", *rows, ""])


def passes(row: Row) -> bool:
    """Run the tests of a row."""
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", *dict.fromkeys(row.tests)]
    return subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False).returncode == 0


def main() -> None:
    """Print the table."""
    failed = frozenset(row for row in ROWS if not passes(row))
    sys.stdout.write(table(failed))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
