"""Deliberate faults, each of which the tests must notice. `run.py` puts one at a time into a copy of the checkout.

When code moves, only the patterns change: a fault's intent, in words, says what the edit has to break.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """One change to the source.

    pattern: a regular expression that matches exactly once in all Python files under `under`. replacement: what stands there
    instead, literally.
    """

    pattern: str
    replacement: str
    under: str = "cam_cli"


@dataclass(frozen=True)
class Fault:
    """A fault.

    intent: what is wrong with it, in words. tests: files or node ids of pytest, at least one test of which must fail.
    """

    name: str
    intent: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]


FAULTS = (
    # results on a disk and in a store
    Fault(
        "published-in-steps",
        "An image's files are moved to its folder one by one, the manifest first, instead of by one rename of the folder.",
        (
            Edit(
                r"try:\n +staged\.rename\(\w+\)",
                "try:\n"
                "                target = self.of(relative)\n"
                "                target.mkdir()\n"
                "                (staged / MANIFEST).rename(target / MANIFEST)\n"
                "                for path in list(staged.iterdir()):\n"
                "                    path.rename(target / path.name)\n"
                "                staged.rmdir()",
            ),
        ),
        ("tests/end_to_end/test_every_step.py",),
    ),
    Fault(
        "manifest-put-first",
        "In a store of objects, an image's manifest is put before its other files.",
        (
            Edit(
                r"self\._store\.put_new\(",
                "self._store.put(at.child(MANIFEST), files[MANIFEST])\n                self._store.put_new(",
                "cam_cli/results",
            ),
            Edit(r"child\(MANIFEST\), data, new=True\)", "child(MANIFEST), data)", "cam_cli/results"),
        ),
        (
            "tests/results/test_store.py::test_a_run_that_dies_at_any_write_leaves_no_manifest_beside_files_that_are_not_its_own",
        ),
    ),
    Fault(
        "no-lock",
        "A run takes no lock on its output folder.",
        (Edit(r"fcntl\.lockf\(.*\)", "pass"),),
        ("tests/results/test_lock.py",),
    ),
    Fault(
        "shards-from-0",
        "Shard I of N takes the images of the shard after it, as if shards were counted from 0.",
        (
            Edit(
                r"HASHES \* \(self\.index - 1\) // self\.count, HASHES \* self\.index //",
                "HASHES * self.index // self.count, HASHES * (self.index + 1) //",
            ),
        ),
        ("tests/results/test_lock.py",),
    ),
    Fault(
        "torn-line-kept",
        "A last line of the index that a crash tore is not cut off, so that the next row is written behind it.",
        (Edit(r"os\.ftruncate\(file, end\)", "pass"),),
        ("tests/results/test_index.py::test_after_a_torn_end_new_rows_stand_on_lines_of_their_own",),
    ),
    Fault(
        "staging-left-behind",
        "The staging folder is not removed when the run has ended.",
        (Edit(r"finally:\n +shutil\.rmtree\(self\._\w+, ignore_errors=True\)", "finally:\n                pass"),),
        ("tests/hostile/test_hostile_names.py::test_what_no_run_made_is_neither_replaced_nor_followed",),
    ),
    Fault(
        "link-followed",
        "An image's results are written through a symbolic link inside the output folder.",
        (Edit(r"mode = os\.lstat\((\w+)\)\.st_mode", "mode = os.stat(above).st_mode"),),
        ("tests/hostile/test_hostile_names.py",),
    ),
    # what counts as finished
    Fault(
        "row-without-stamp",
        "A row of the index is believed though the manifest on the disk is another one than it was written for.",
        (Edit(r" or row\.get\([\w.]*stamp_name\) != \w+", ""),),
        ("tests/pipeline/test_resume.py::test_an_index_of_other_settings_is_not_believed",),
    ),
    Fault(
        "seed-not-in-fingerprint",
        "The seed of the noise is not part of an image's fingerprint, so that another seed explains nothing again.",
        (Edit(r'same seed, same maps\.", "N", ', 'same seed, same maps.", "N", counts=False, '),),
        ("tests/results/test_manifest.py::test_the_fingerprint_follows_exactly_what_decides_a_result",),
    ),
    Fault(
        "model-not-in-fingerprint",
        "The sha256 of the model is not part of an image's fingerprint.",
        (Edit(r'"model": model_sha256', '"model": ""'),),
        ("tests/results/test_manifest.py::test_the_fingerprint_follows_image_model_and_engine",),
    ),
    Fault(
        "retry-failed-ignored",
        "--retry-failed tries no failed image again.",
        (Edit(r"if self\._?retry_failed:", "if False:"),),
        ("tests/pipeline/test_resume.py",),
    ),
    # exit codes and streams
    Fault(
        "failures-exit-0",
        "A run in which images failed ends with exit code 0 instead of 3.",
        (Edit(r"return ExitCode\.SOME_FAILED if self\.failed or ", "return ExitCode.SOME_FAILED if "),),
        ("tests/pipeline/test_stats.py",),
    ),
    Fault(
        "bound-exit-0",
        "A bound of `audit:` that is crossed ends the command with exit code 0 instead of 5.",
        (Edit(r"BOUND_CROSSED = 5", "BOUND_CROSSED = 0"),),
        ("tests/end_to_end/test_audit.py::test_explain_keeps_the_bounds_it_can_judge",),
    ),
    Fault(
        "broken-pipe-swallowed",
        "A run whose stdout nobody reads any more goes on and ends with exit code 0 instead of 141.",
        (Edit(r"raise Interrupted\(signal\.SIGPIPE\) from None", "return"),),
        ("tests/cli/test_console.py",),
    ),
    # names and settings from outside
    Fault(
        "terminal-not-escaped",
        "A line on stderr holds control characters of a file name as they are.",
        (Edit(r'_print\(f"smoothcam: \{escaped\((\w+)\)\}', '_print(f"smoothcam: {text}'),),
        ("tests/cli/test_console.py::test_hostile_names_steer_no_terminal_and_forge_no_line",),
    ),
    Fault(
        "formula-in-csv",
        "A cell of CSV may begin with a character that a spreadsheet takes for a formula.",
        (Edit(r'text\.startswith\(\("=", "\+", "-", "@"\)\)', "False"),),
        ("tests/hostile/test_hostile_words.py::test_no_cell_is_a_formula",),
    ),
    Fault(
        "markup-in-report",
        "A name in the report's data can end the script element that it stands in.",
        (Edit(r"\.translate\(_HARMLESS\)", ""),),
        ("tests/report/test_report.py::test_no_text_ends_its_block_of_data_and_all_of_it_comes_back",),
    ),
    Fault(
        "lambda-by-config",
        "`unsafe_lambda: true` is accepted from a YAML file, so that a config can run the code of a model.",
        (Edit(r"if config\.unsafe_lambda and ", "if False and "),),
        ("tests/settings/test_config.py::test_code_is_allowed_by_a_flag_or_a_variable_and_never_by_a_file",),
    ),
    # images
    Fault(
        "hang-not-ended",
        "A decoder process that hangs over an image is not ended after image_timeout seconds.",
        (Edit(r"self\._patience = seconds", "self._patience = 1e9"),),
        ("tests/decoding/test_decoders.py::test_a_hang_costs_one_image",),
    ),
    Fault(
        "max-pixels-unchecked",
        "An image with more pixels than max_pixels is decoded.",
        (Edit(r"if width \* height > max_pixels", "if False"),),
        ("tests/images/test_images.py::test_our_limit_alone_decides",),
    ),
    Fault(
        "upsampling-shifted",
        "A map is enlarged with its cells' corners where their centres should be, half a cell off.",
        (Edit(r"at \* cells - 0\.5", "at * cells"),),
        ("tests/render/test_render.py",),
    ),
    # the mathematics
    Fault(
        "no-third-derivative",
        "The term with D3 is missing from the denominator of alpha.",
        (Edit(r"bracket = D3 / D2", "bracket = 0 * (D3 / D2)"),),
        ("tests/engine/test_engine.py::test_every_method_and_selection_equals_the_oracle",),
    ),
    Fault(
        "sum-of-products",
        "The denominator of alpha has sum_ab(A_ab D3_ab) instead of (sum_ab A_ab) D3 of the cell.",
        (
            Edit(
                r"formulas\.channel_weights\(D1, D2, D3, area, numerator\)",
                "formulas.channel_weights(D1, D2, D3, (A[cells] * D3).sum(axis=-2, keepdims=True) / D3, numerator)",
            ),
        ),
        ("tests/engine/test_engine.py::test_every_method_and_selection_equals_the_oracle",),
    ),
    Fault(
        "guard-removed",
        "Alpha may leave 0..1: a cell whose denominator is below D2 is not set to 0.",
        (
            Edit(r"within = bracket >= 1", "within = np.isfinite(bracket)"),
            Edit(r"within / np\.fmax\(bracket, 1\)", "np.where(within, 1 / bracket, 0)"),
        ),
        ("tests/engine/test_engine.py::test_every_method_and_selection_equals_the_oracle",),
    ),
    Fault(
        "noise-by-position",
        "An image's noise follows from its position in the batch instead of from the image.",
        (
            Edit(
                r"\{subjects\[b\]\.identity\}\\n\{numbers\[m\]\}",
                "{b}\\n{numbers[m]}",
            ),
        ),
        (
            "tests/engine/test_engine.py::test_batch_neighbours_and_padding_do_not_change_a_map",
            "tests/engine/test_engine.py::test_noise_follows_identity_and_seed",
        ),
    ),
    Fault(
        "rank-of-a-noisy-copy",
        "The class of a rank, such as the predicted one, is taken from a noisy copy instead of from the clean image.",
        (Edit(r"tf\.argsort\(all_logits\[:, 0\]", "tf.argsort(all_logits[:, -1]"),),
        ("tests/engine/test_engine.py::test_ranks_are_resolved_on_the_clean_image",),
    ),
    Fault(
        "sums-in-half-precision",
        "The sums over the noisy copies are kept in float16.",
        (
            Edit(
                r"return factors\.astype\(np\.float32\)\[:, None, None\] \* values",
                "return (factors.astype(np.float16)[:, None, None] * values.astype(np.float16)).astype(np.float32)",
            ),
        ),
        ("tests/engine/test_engine.py::test_every_method_and_selection_equals_the_oracle",),
    ),
    Fault(
        "nan-is-ok",
        "A map with numbers that are not finite counts as ok, and is drawn.",
        (Edit(r'return "nonfinite"', 'return "ok"'),),
        ("tests/engine/test_engine.py::test_a_blank_and_a_broken_map_say_so",),
    ),
)
