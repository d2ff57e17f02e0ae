import optuna
from searching import space_with

from dexsearch.search.space import (
    derived_seed,
    distributions,
    is_immune,
    suggest,
    trial_seed,
)


def asked(n: int, **changes: object) -> list[dict[str, object]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space = space_with(**changes)
    return [dict(suggest(study.ask(), space)) for _ in range(n)]


def test_every_distribution_keeps_its_range_and_scale() -> None:
    found = distributions(space_with())
    assert found["generator.depth"] == optuna.distributions.IntDistribution(2, 4)
    assert found["discriminator.patch_px"] == optuna.distributions.CategoricalDistribution((1, 16))
    rate = optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True)
    assert found["optimizer.learning_rate"] == rate


def test_a_trial_without_adversarial_loss_draws_no_discriminator() -> None:
    for params in asked(30):
        assert ("discriminator.patch_px" in params) == (params["loss.adversarial"] != "none")


def test_parameters_come_in_the_order_of_the_file() -> None:
    order = list(space_with().search)
    for params in asked(5):
        assert list(params) == [key for key in order if key in params]


def test_each_block_has_exactly_one_immune_trial_and_never_an_enqueued_one() -> None:
    enqueue = [{"generator.depth": 2}] * 6
    space = space_with(enqueue=enqueue, trials=200)
    immune = [number for number in range(200) if is_immune(space, number)]
    assert [number // 4 for number in immune] == list(range(1, 50))
    assert immune[0] >= 6, "trials 0 to 5 are enqueued"
    assert len({number % 4 for number in immune}) == 4, "the place in the block is random"


def test_nothing_is_immune_where_nothing_is_pruned() -> None:
    for pruner in ({"kind": "none"}, {"min_epochs": 3, "immune_every": 0}):
        space = space_with(pruner=pruner)
        assert not any(is_immune(space, number) for number in range(50))


def test_seeds_differ_by_trial_and_by_search_and_follow_from_both() -> None:
    spaces = [space_with(sampler={"seed": seed}) for seed in range(20)]
    seeds = {trial_seed(space, number) for space in spaces for number in range(50)}
    assert len(seeds) == 1000
    assert derived_seed(0, "trial", 1) == derived_seed(0, "trial", 1)
    assert all(0 <= seed < 2**31 for seed in seeds)
