import pytest

from dexsearch.jobs.checkup import State
from dexsearch.jobs.doctor_machine import environment_checks


@pytest.mark.parametrize("mode", ["disabled", "tokn", " token", "0", "DISABLED"])
def test_a_mode_in_which_ray_asks_for_no_token_is_a_warning_that_names_it(mode: str) -> None:
    (check,) = environment_checks({"RAY_AUTH_MODE": mode})
    assert (check.name, check.state) == ("RAY_AUTH_MODE", State.WARNING)
    assert repr(mode) in check.found
    assert "unset RAY_AUTH_MODE" in (check.fix or "")


@pytest.mark.parametrize("environment", [{}, {"RAY_AUTH_MODE": "token"}, {"RAY_AUTH_MODE": ""}])
def test_no_mode_and_the_one_with_a_token_are_well(environment: dict[str, str]) -> None:
    (check,) = environment_checks(environment)
    assert check.state is State.OK
