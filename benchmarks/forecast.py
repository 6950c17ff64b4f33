"""How near month-end forecasts come, beside run rate and ``predict_linear``, on synthetic businesses.

    python -m benchmarks.forecast

Each business has daily costs of 14 months with a weekly rhythm and noise; what makes it hard is its name. All methods
see the same days. ``margin-exporter forecast --backtest`` does the same on your own history.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal

from benchmarks.harness import Goal, report
from exporter.config import Settings
from exporter.margin.backtest import METHODS, Trial, scores, trials
from exporter.margin.monthend import Daily
from exporter.margin.renewals import Renewals

FIRST = date(2025, 9, 1)
DAYS = 425
WEEK = (1.1, 1.15, 1.1, 1.05, 1.0, 0.8, 0.8)

Shape = Callable[[int, random.Random], float]
BUSINESSES: dict[str, Shape] = {
    "steady": lambda day, dice: 1.0,
    "noisy": lambda day, dice: dice.lognormvariate(-0.08, 0.4),
    "spikes": lambda day, dice: 6.0 if dice.random() < 0.03 else 1.0,
    "grows 5 % a month": lambda day, dice: 1.05 ** (day / 30),
    "grows 20 % a month": lambda day, dice: 1.2 ** (day / 30),
    "shrinks 10 % a month": lambda day, dice: 0.9 ** (day / 30),
    "prices rise by half in mid-month": lambda day, dice: 1.5 if day >= 213 else 1.0,
}


def history(shape: Shape, seed: int) -> list[Daily]:
    """Daily costs of one business, in cents."""
    dice = random.Random(seed)
    found = []
    for day in range(DAYS):
        level = 1000 * WEEK[(FIRST + timedelta(days=day)).weekday()] * shape(day, dice) * dice.gauss(1, 0.05)
        found.append(Daily({}, Decimal(round(level * 100)) / 100))
    return found


def measure(runs: int) -> dict[str, float]:
    """Mean absolute error in percent by business, day and method, and how often the band held."""
    days = [FIRST + timedelta(days=day) for day in range(DAYS)]
    settings = Settings()
    every: list[Trial] = []
    figures: dict[str, float] = {}
    for name, shape in BUSINESSES.items():
        found: list[Trial] = []
        for seed in range(runs):
            found += trials(days, history(shape, seed), lambda _today, _until: Renewals(), settings)
        for score in scores(found):
            texts = "  ".join(f"{method} {score.errors[method]:5.2f} %" for method in METHODS)
            held = score.inside / score.trials
            print(f"{name:34} day {score.day:2}  {texts}  in p10-p90 {held:.0%}")
        every += found
    for score in scores(every):
        for method in METHODS:
            figures[f"day {score.day}: {method}, error %"] = round(float(score.errors[method]), 2)
    figures["in p10-p90"] = round(sum(trial.inside for trial in every) / len(every), 3)
    for method in METHODS[1:]:
        ratios = [float(score.errors["forecast"] / score.errors[method]) for score in scores(every)]
        figures[f"error against {method}, worst day of the month"] = round(max(ratios), 3)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="histories of each business")
    figures = measure(parser.parse_args().runs)
    goals = [Goal(f"error against {method}, worst day of the month", 1.0, at_least=False) for method in METHODS[1:]]
    report("forecast", "the month's end as of its days 5 to 25, seven kinds of businesses", figures, goals)


if __name__ == "__main__":
    main()
