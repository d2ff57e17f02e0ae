"""What a person reads about a generator: everything asked for is there, nothing else leaks in."""

from dataclasses import asdict, replace

import pytest

from dexsearch.inference.card import GeneratorCard, card_from
from dexsearch.inference.model_card import DISCLAIMER, model_card

CARD = GeneratorCard(
    task="joint",
    targets=("bone", "tissue"),
    trial_config={
        "task": "joint", "seed": 7,
        "generator": {"depth": 4, "width": 32, "input_normalization": "absolute"},
    },
    normalization={},
    units={"input": "-ln(I/I0)", "bone": "cm", "tissue": "cm"},
    study="ribs",
    trial=4,
    params={},
    objective="val_ssim",
    epochs=27,
    n_parameters=1_544_038,
    dataset="d" * 64,
    size_px=(64, 48),
    pixel_mm=5.625,
    metric=1,
    scores={"val_ssim": 0.85, "val_ssim_bone": 0.74, "val_ssim_tissue": 0.96, "val_psnr": 28.3},
    baselines={"constant": {"bone": 0.06, "tissue": 0.48}},
    libraries={"torch": "2.13.0"},
    cohort={"kind": "phantom", "kvp": 120.0, "dose_mas": 0.1, "split_rule": "by subject"},
    subjects={"train": 12, "validation": 3, "holdout": 5},
    images={"train": 240, "validation": 60, "holdout": 100},
    split="e" * 64,
    intervals={"val_ssim": [0.81, 0.88], "val_ssim_bone": [0.7, 0.79]},
    n_subjects=3,
    latency={"ms": 1.4, "size_px": [64, 48], "device": "cpu", "threads": 2, "machine": "EPYC"},
    machine="EPYC, 2 CPUs",
    git_commit="abc123",
)  # fmt: skip


@pytest.mark.parametrize(
    "told",
    [
        DISCLAIMER, "procedural thorax phantoms", "12 training, 3 validation, 5 hold-out",
        "240 training, 60 validation, 100 hold-out", "5.625 mm", "120.0 kVp, 0.1 mAs",
        "0.8500 (0.8100 to 0.8800)", "0.7400 (0.7000 to 0.7900)", "| 0.2700 | 0.0600 | 0.4800 |",
        "fewer than 8 subjects", "optimistic", "simulated images", "multiples of 16 (2^depth)",
        "at least 32", "`-ln(I/I0)`", "dexsearch predict", "torch.export.load", "mlflow models",
        "27 epochs, seed 7", "d" * 64, "e" * 64, "abc123", "torch 2.13.0",
        "1.4 ms for one image of 64 x 48 px (cpu, 2 threads, EPYC)", "EPYC, 2 CPUs",
    ],
)  # fmt: skip
def test_a_card_says(told: str) -> None:
    assert told in model_card(CARD)


def test_an_interval_of_enough_subjects_is_not_called_narrow() -> None:
    assert "narrower than it should be" in model_card(CARD)
    assert "narrower than it should be" not in model_card(replace(CARD, n_subjects=8))


def test_without_intervals_the_card_says_why() -> None:
    text = model_card(replace(CARD, intervals={}))
    assert "There is no interval" in text
    assert "| **this generator** | 0.8500 | 0.7400 | 0.9600 |" in text


def test_images_that_were_not_simulated_are_not_called_so() -> None:
    text = model_card(replace(CARD, cohort={"kind": "import"}))
    assert "imported as they are" in text
    assert "simulated" not in text


def test_a_head_that_computes_tissue_says_so() -> None:
    text = model_card(replace(CARD, trial_config={**CARD.trial_config, "task": "derive"}))
    assert "tissue is computed from it" in text


def test_a_normalisation_by_image_warns_of_padding() -> None:
    generator = {**CARD.trial_config["generator"], "input_normalization": "per_image"}
    text = model_card(replace(CARD, trial_config={**CARD.trial_config, "generator": generator}))
    assert "padding or tiling changes the result" in text


def test_names_cannot_break_the_table_or_bring_markup() -> None:
    text = model_card(replace(CARD, study="<script>|\x1b[31m\n# x"))
    assert "<script>" not in text
    assert "\x1b" not in text
    (line,) = [line for line in text.splitlines() if line.startswith("| Study |")]
    assert line.replace("\\|", "").count("|") == 3


def test_a_card_without_what_format_2_added_can_be_read_by_a_person() -> None:
    values = {
        "cohort": {}, "subjects": {}, "images": {}, "split": None, "intervals": {},
        "n_subjects": None, "latency": None, "machine": None, "git_commit": None,
    }  # fmt: skip
    text = model_card(replace(CARD, **values))
    assert "| Images | not recorded |" in text
    assert "None" not in text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("intervals", {"val_ssim": [0.1]}), ("intervals", {"val_ssim": ["a", "b"]}),
        ("subjects", {"train": "12"}), ("images", {"train": 1.5}), ("scores", {"val_ssim": "x"}),
        ("baselines", {"constant": 0.3}), ("baselines", {"constant": {"bone": "x"}}),
        ("n_subjects", "3"), ("latency", [1]), ("git_commit", 5), ("cohort", None),
    ],
)  # fmt: skip
def test_a_card_of_wrong_values_is_refused(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=key):
        card_from({**asdict(CARD), "targets": ["bone"], "size_px": [64, 48], key: value})


def test_what_describes_a_generator_is_not_part_of_its_name() -> None:
    plain = replace(
        CARD, cohort={}, subjects={}, images={}, split=None, intervals={}, n_subjects=None,
        latency=None, machine=None, git_commit=None, format=1,
    )  # fmt: skip
    assert plain.content_hash("w") == CARD.content_hash("w")
