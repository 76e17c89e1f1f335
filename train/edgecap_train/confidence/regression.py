"""Logistic regression as a probability is fitted by it: below a ceiling, and of several sides that differ in level."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Floats = NDArray[np.float64]
Places = NDArray[np.intp]


def logistic_regression(
    inputs: Floats,
    targets: Floats,
    weights: Floats,
    penalty: float,
    *,
    ceilings: Floats | None = None,
    sides: Places | None = None,
    spread: float = 0.0,
) -> Floats:
    """Weights of the inputs (rows, n) and a constant, (n + 1,), for targets (rows,) from 0 to 1, each row weighing so.

    The penalty is on the squares of the weights of standardised inputs. A probability is `ceilings` (rows,) times the
    logistic function, where they are given. With `sides` (rows,), whole numbers, each side has a constant of its own
    besides, Gaussian with the standard deviation `spread` (a random intercept); the result is for a side that nobody
    knows: logits are shrunk by as much as the mean over that Gaussian flattens the logistic function (MacKay 1992).
    """
    mean, deviation = inputs.mean(0), inputs.std(0) + 1e-3
    standard = np.column_stack(((inputs - mean) / deviation, np.ones(len(inputs))))
    columns, count = standard.shape[1], 0 if sides is None else int(sides.max()) + 1
    shrunk = np.concatenate((np.full(columns - 1, penalty), [0.0], np.full(count, 1.0 / max(spread, 1e-6) ** 2)))
    above = np.ones(len(inputs)) if ceilings is None else ceilings

    def loss(parameters: Floats) -> tuple[float, Floats]:
        logits = standard @ parameters[:columns]
        if sides is not None:
            logits = logits + parameters[columns:][sides]
        part = 1.0 / (1.0 + np.exp(-np.clip(logits, -500.0, 500.0)))
        probabilities = np.clip(above * part, 1e-12, 1.0 - 1e-12)
        likelihood = targets * np.log(probabilities) + (1.0 - targets) * np.log1p(-probabilities)
        slopes = weights * (probabilities - targets) / (1.0 - probabilities) * (1.0 - part)
        slope = standard.T @ slopes
        if sides is not None:
            slope = np.append(slope, np.bincount(sides, slopes, count))
        value = -(weights @ likelihood) + 0.5 * shrunk @ np.square(parameters)
        return float(value), slope + shrunk * parameters

    start = np.zeros(columns + count)
    fitted = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x[:columns]
    plain = fitted[:-1] / deviation
    flattened = 1.0 / math.sqrt(1.0 + math.pi * spread**2 / 8.0) if sides is not None else 1.0
    return flattened * np.append(plain, fitted[-1] - mean @ plain)
