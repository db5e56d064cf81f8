"""Writes what three formulas lose against the exact optimum over (omega T, k s Q), at two bounds Q: `losses.csv`.

    python data/maps/make.py            # half a minute of processor time

The markets have k 1.5, a maker of risk aversion 0.1 and a session of length 1, those of the book; sigma and A are what
gives omega T and k s Q. In units of the depth 1/k and of the session, a market is these two, the bound and gamma/k.
Tables have 200 rows; losses are against the exact optimum, which may quote anew at any time.
"""

import csv

import numpy as np

from mmlib.market_making import Market, avellaneda_stoikov, glft, maps

K, GAMMA, HORIZON, STEPS = 1.5, 0.1, 1.0, 200
BOUNDS = (5, 30)
OMEGA_T = np.geomspace(0.03, 100, 41)
KSQ = np.geomspace(0.01, 20, 41)
MODELS = {
    "avellaneda_stoikov": avellaneda_stoikov.quotes,
    "tanh": glft.tanh_quotes,
    "closed_form": glft.closed_form_quotes,
}


def market(omega_T, ksQ, Q):
    """sigma and A: with ks² = k gamma sigma²/(2 eta) and omega = 2 eta ks, eta = A C; arrays of one shape."""
    ks = np.asarray(ksQ) / Q
    eta = np.asarray(omega_T) / HORIZON / (2 * ks)
    C = glft.constants(Market(sigma=1.0, A=1.0, k=K), GAMMA)[1]
    return np.broadcast_arrays(ks * np.sqrt(2 * eta / (K * GAMMA)), eta / C)


def losses(omega_T, ksQ, Q, workers=None):
    """Per cent of the optimum's certainty equivalent that each model loses; NaN if its quotes are beyond judging."""
    sigma, A = market(omega_T, ksQ, Q)
    fixed = dict(gamma=GAMMA, horizon=HORIZON, max_inventory=Q)
    best = [glft.value(Market(s, a, K), **fixed)[Q] for s, a in zip(sigma.ravel(), A.ravel(), strict=True)]
    how = dict(sigma=sigma, A=A, k=K, steps=STEPS, workers=workers, beyond="nan", **fixed)
    return {
        name: 100 * (1 - maps.certainty_equivalents(model, **how) / np.reshape(best, sigma.shape))
        for name, model in MODELS.items()
    }


def main():
    with maps.SHIPPED.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["Q", "omega_T", "ksQ", *MODELS])
        for Q in BOUNDS:
            found = losses(OMEGA_T[:, None], KSQ, Q)
            for i, x in enumerate(OMEGA_T):
                for j, y in enumerate(KSQ):
                    row = (found[name][i, j] for name in MODELS)
                    table.writerow([Q, f"{x:.6g}", f"{y:.6g}", *(f"{max(v, 1e-6):.3g}" for v in row)])


if __name__ == "__main__":
    main()
