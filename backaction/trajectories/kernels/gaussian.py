"""Means of linear systems through many bins, and back; all arrays have the trajectories last."""

from __future__ import annotations

import numpy as np

from ..compiled import kernel


@kernel
def advance_means(width, Phi, beta, H, gamma, which, L, G, given, y, e, mean, likelihood):
    """Means after every bin, mean[k + 1], from mean[0]; y from e, or, if given, e from y, and the likelihood."""
    n, m, lanes = mean.shape[1], y.shape[1], mean.shape[2]
    for k in range(y.shape[0]):
        g = which[k]
        for j in range(m):
            for lane in range(lanes):
                y_or_e = y[k, j, lane] - gamma[j] if given else gamma[j]
                e_or_y = e[k, j, lane]
                if given:
                    e[k, j, lane] = y_or_e
                else:
                    y[k, j, lane] = y_or_e + L[g, j, j] * e_or_y
            for i in range(n):
                h = H[j, i]
                if h != 0.0:
                    if given:
                        for lane in range(lanes):
                            e[k, j, lane] -= h * mean[k, i, lane]
                    else:
                        for lane in range(lanes):
                            y[k, j, lane] += h * mean[k, i, lane]
            for q in range(j):
                c = L[g, j, q]
                if given:
                    for lane in range(lanes):
                        e[k, j, lane] -= c * e[k, q, lane]
                else:
                    for lane in range(lanes):
                        y[k, j, lane] += c * e[k, q, lane]
            if given:
                inverse = 1.0 / L[g, j, j]
                constant = np.log(inverse * np.sqrt(width))
                for lane in range(lanes):
                    e[k, j, lane] *= inverse
                    likelihood[lane] += constant + 0.5 * (y[k, j, lane] ** 2 / width - e[k, j, lane] ** 2)
        for i in range(n):
            for lane in range(lanes):
                mean[k + 1, i, lane] = beta[i]
            for j in range(n):
                c = Phi[i, j]
                if c != 0.0:
                    for lane in range(lanes):
                        mean[k + 1, i, lane] += c * mean[k, j, lane]
            for j in range(m):
                c = G[g, i, j]
                for lane in range(lanes):
                    mean[k + 1, i, lane] += c * e[k, j, lane]


@kernel
def retreat_scores(which, T, read, e, back):
    """What the later record says: back[k] = readᵀe[k] + Tᵀback[k + 1], from the last."""
    n, m, lanes = back.shape[1], e.shape[1], back.shape[2]
    for k in range(e.shape[0] - 1, -1, -1):
        g = which[k]
        for i in range(n):
            for lane in range(lanes):
                back[k, i, lane] = 0.0
        for j in range(m):
            for i in range(n):
                c = read[g, j, i]
                for lane in range(lanes):
                    back[k, i, lane] += c * e[k, j, lane]
        for j in range(n):
            for i in range(n):
                c = T[g, j, i]
                for lane in range(lanes):
                    back[k, i, lane] += c * back[k + 1, j, lane]
