"""How a client trains: the charter's [trainer] names one of the two, and tells it the rest.

Anything can be a trainer that has `fit` and `evaluate`, and gives the same weights for the same weights and round.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fedpact.artifacts.weights import Weights
from fedpact.errors import CharterError, InputError
from fedpact_client.data import Data, read_table
from fedpact_client.estimators import EstimatorTrainer
from fedpact_client.trainer import Config, Fit, Metrics, Trainer
from fedpact_client.trainer_section import positive, seed_of, whole
from sklearn.linear_model import SGDRegressor


def make(file: Path | None, config: Config) -> Trainer:
    """The client's trainer.

    Args:
        file: its data.toml, which says where its samples are.
        config: the charter's [trainer].
    """
    data, _ = read_table(file)
    if config.get("name") == "gradient":
        rate = positive(config, "learning_rate")
        return EstimatorTrainer(SGDRegressor(penalty=None, learning_rate="constant", eta0=rate), data, config)
    if config.get("name") == "genetic":
        return GeneticTrainer(data, config)
    raise CharterError(f"trainer.name: expected gradient or genetic, found {config.get('name')!r}")


class GeneticTrainer:
    """A genetic algorithm, as the original trained with: PyGAD's.

    A population of models around the one that the round starts from breeds for some generations; the fittest is the
    update. The steps become smaller from round to round, as the models come closer to the solution.

    Raises:
        InputError: PyGAD is not installed.
        CharterError: a setting is missing or none.
    """

    def __init__(self, data: Data, config: Config) -> None:
        self._data = data
        try:
            import pygad
        except ModuleNotFoundError:
            raise InputError("PyGAD: not installed here; pip install pygad installs it") from None
        self._pygad = pygad
        self._generations, self._population = whole(config, "generations"), whole(config, "population")
        self._spread, self._seed = positive(config, "spread"), whole(config, "seed")

    def fit(self, weights: Weights, config: Config) -> Fit:
        start = np.concatenate([weights["coef_"], weights["intercept_"]]).astype(np.float64)
        number, features, targets = whole(config, "round"), self._data.features, self._data.targets
        seed, spread = seed_of(self._seed, number), self._spread / number
        population = start + np.random.default_rng(seed).normal(0, spread, (self._population, len(start)))
        population[0] = start  # Nobody fitter, and the model stays as it is.

        def fitness(algorithm: object, models: list[np.ndarray], places: object) -> list[float]:
            errors = features @ np.stack(models)[:, :-1].T + np.stack(models)[:, -1] - targets[:, None]
            return [-float(each) for each in np.mean(errors**2, axis=0)]

        algorithm = self._pygad.GA(
            num_generations=self._generations,
            num_parents_mating=max(2, self._population // 4),
            fitness_func=fitness,
            fitness_batch_size=self._population,
            initial_population=population,
            parent_selection_type="rank",
            crossover_type="uniform",
            mutation_type="random",
            mutation_probability=0.2,
            random_mutation_min_val=-spread,
            random_mutation_max_val=spread,
            keep_elitism=2,
            random_seed=seed,
            suppress_warnings=True,
        )
        algorithm.run()
        best, _, _ = algorithm.best_solution(algorithm.last_generation_fitness)
        trained = {"coef_": best[:-1].astype(np.float32), "intercept_": best[-1:].astype(np.float32)}
        return Fit(trained, len(targets), self.evaluate(trained))

    def evaluate(self, weights: Weights) -> Metrics:
        guesses = self._data.held_out_features @ weights["coef_"] + weights["intercept_"]
        targets = self._data.held_out_targets
        return {"r2": 1 - float(np.mean((targets - guesses) ** 2) / np.var(targets))}
