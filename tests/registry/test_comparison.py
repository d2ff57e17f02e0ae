"""What a person reads of a comparison."""

import numpy as np
import pytest

from dexsearch.registry.comparison import Comparison
from dexsearch.registry.paired import judge


def comparison(subjects: list[str]) -> Comparison:
    scores = np.linspace(0.7, 0.9, len(subjects))
    result = judge(subjects, scores + 0.01, scores)
    return Comparison("a/1", "b/1", ("bone",), "d" * 64, 1, result, {}, ())


def test_a_verdict_on_one_image_each_says_that_they_may_show_one_person() -> None:
    found = comparison([f"file-{index}" for index in range(12)])
    assert found.verdict == "better"
    assert "another subject" in str(found)
    assert "--subject-pattern" in found.as_json()["remark"]


@pytest.mark.parametrize(
    "subjects", [[f"s{index // 2}" for index in range(24)], ["one"] * 12, ["one"]]
)
def test_there_is_no_such_remark_where_images_were_grouped(subjects: list[str]) -> None:
    found = comparison(subjects)
    assert found.as_json()["remark"] is None
    assert "another subject" not in str(found)
