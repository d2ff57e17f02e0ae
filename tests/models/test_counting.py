import pytest

from dexsearch.config.trial import trial_config
from dexsearch.models.counting import n_generator_parameters
from dexsearch.models.generator import build_generator


@pytest.mark.parametrize("task", ["bone", "joint", "derive"])
@pytest.mark.parametrize("output", ["residual", "plain"])
@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize(("depth", "width", "kernel_px"), [(1, 4, 3), (3, 8, 4), (5, 6, 2)])
def test_the_count_is_that_of_the_built_generator(
    task: str, output: str, norm: str, depth: int, width: int, kernel_px: int
) -> None:
    config = trial_config(
        {
            "task": task, "generator.output": output, "generator.norm": norm,
            "generator.depth": depth, "generator.width": width, "generator.kernel_px": kernel_px,
        }
    )  # fmt: skip
    built = build_generator(config.generator, n_targets=len(config.task.predicted))
    assert n_generator_parameters(config) == sum(p.numel() for p in built.parameters())
