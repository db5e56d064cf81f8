"""`mmlib train`: an agent learns to make markets, is judged exactly, and can be interrupted."""

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from mmlib._notebooks import Parameter, did_you_mean, values
from mmlib.cli import files
from mmlib.cli.backtest import Binance, Fee, Latency, Lobster, Lot, Queue, Step, Symbol, capture, refuse_mixtures
from mmlib.cli.ending import by_signal, computing, refuse, unbroken
from mmlib.cli.simulate import Pairs

#: Parameters by environment, with the defaults that a training begins from; those of `OWN` are left out unless given.
GRID = {"horizon": 1.0, "steps": 200, "max_inventory": 30}
SETTINGS: dict[str, dict[str, Any]] = {
    "environment": {"sigma": 2.0, "A": 140.0, "k": 1.5, "mu": 0.0, "fee": 0.0} | GRID,
    "book_environment": {"parts": 6, "decide": 1.0, "max_inventory": 5, "phi": 0.0},
    "glass_box": {"A": 140.0, "k": 1.5, "gamma": 0.1, "low": 1.0, "high": 6.0, "rate_up": 2.0, "rate_down": 8.0} | GRID,
}
OWN: dict[str, dict[str, Any]] = {
    "environment": {"gamma": 0.1, "phi": 0.2, "alpha": 0.0, "reward": "centred", "high": 1.5},
    "book_environment": {"size": 0.0, "high": 0.0, "gamma": 0.1, "sigma": 0.0, "A": 0.0, "k": 0.0},
    "glass_box": {},
}
#: Algorithms by environment, and how long they train unless told: steps ("bandit": an arm's), "gradient" evaluations.
ALGORITHMS = {
    "environment": {"ppo": 4_096_000, "gradient": 300},
    "book_environment": {"es": 500_000, "ppo": 200_000},
    "glass_box": {"es": 19_200_000, "bandit": 640_000},
}
SAVED_EVERY = 10  # seconds
LISTED = f"ENV is one of {', '.join(SETTINGS)}."


def train(
    context: typer.Context,
    env: Annotated[str, typer.Argument(metavar="ENV", help=LISTED)],
    algorithm: Annotated[
        str,
        typer.Option(help="ppo or gradient in environment, es or bandit in glass_box, es or ppo in book_environment."),
    ] = "",
    timesteps: Annotated[
        int | None,
        typer.Option(min=1, max=10**12, help="Steps of ppo and es, of an arm of bandit; of gradient its evaluations."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Same seed, same policy.")] = 0,
    parameter: Pairs = None,
    lobster: Lobster = None,
    binance: Binance = None,
    symbol: Symbol = "",
    tick: Step = None,
    lot: Lot = None,
    latency: Latency = 1.0,
    queue: Queue = "back",
    fee: Fee = 0.0,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT.npz", help="The policy; a picture lies beside it.")
    ] = Path("policy.npz"),
) -> None:
    """Train an agent and judge it: value, proven optimum, regret, the best constant spread, a classical model.

    Interrupted, it leaves OUT.npz.part, and the same command goes on from there. ppo needs the extra "deep" (torch).
    With gamma an agent is judged by its certainty equivalent, else by profit less phi q² (by default 0.05 sigma²).
    In book_environment the data are cut into parts; the last one is the test, and sigma, A and k, of the classical
    model, are calibrated on those before it.

    \b
    mmlib train environment --algorithm gradient --timesteps 100 -o quotes.npz
    mmlib train glass_box --algorithm es --seed 1 -o gammas.npz
    """
    given, algorithm = _checked(env, algorithm, parameter or [])
    refuse_mixtures(context, lobster, binance, symbol)
    if (env == "book_environment") != (lobster is not None or binance is not None):
        refuse("book_environment needs --lobster or --binance, and no other ENV takes them")
    data = lobster or capture(binance, symbol)
    timesteps = ALGORITHMS[env][algorithm] if timesteps is None else timesteps
    if output.suffix != ".npz":
        refuse(f"OUT must end in .npz; got {str(output)!r}")
    policy, picture, part = (
        files.target(file) for file in (output, output.with_suffix(".png"), output.with_name(f"{output.name}.part"))
    )
    command = {"env": env, "algorithm": algorithm, "timesteps": timesteps, "seed": seed, "parameters": given}
    command |= {"data": [str(path) for path in lobster or (data,) if path], "rules": [tick, lot, latency, queue, fee]}
    with by_signal():
        with computing():
            from mmlib.cli import learners

            if env == "environment":
                training = learners.in_environment(algorithm, given, timesteps, seed)
            elif env == "book_environment":
                from mmlib.cli import book_learner, league

                how = league.rules(tick, lot, latency, queue, fee, 0.0)
                training = book_learner.in_books(algorithm, given, timesteps, seed, data, how)
            else:
                training = learners.in_glass_box(algorithm, given, timesteps, seed)
            start = _resumed(part, command)
            begun = time.process_time()
            found = _trained(training, part, command, start)
            seconds = time.process_time() - begun
            judged = training.judge(found)
        with unbroken():
            files.save({policy: judged.policy, picture: judged.picture})
            part.unlink(missing_ok=True)
    typer.echo(f"{judged.title}; {algorithm}, seed {seed}, {seconds:.1f} s of processor time")
    typer.echo(judged.table.to_string())
    for note in judged.notes:
        typer.echo(note)
    typer.echo(f"written: {output}, {output.with_suffix('.png')}")


def _checked(env: str, algorithm: str, pairs: list[str]) -> tuple[dict[str, Any], str]:
    """Parameters, converted, and the algorithm; what is none is refused."""
    if env not in SETTINGS:
        refuse(f"no environment {env!r}{did_you_mean(env, SETTINGS)}; {LISTED}")
    algorithm = algorithm or next(iter(ALGORITHMS[env]))
    if algorithm not in ALGORITHMS[env]:
        refuse(f"--algorithm must be one of {', '.join(ALGORITHMS[env])} for {env}; got {algorithm!r}")
    defaults = SETTINGS[env] | OWN[env]
    own = values(env, [Parameter(name, value, "") for name, value in defaults.items()], pairs)
    return SETTINGS[env] | own, algorithm


def _resumed(part: Path, command: dict[str, Any]) -> Any:
    """The state that an interrupted training left, if it was the same; None where there is none."""
    from mmlib.learning import saved

    if not part.exists():
        return None
    start, about = saved.unpack(part, "training")
    if about.get("command") != command:
        old = about.get("command")
        changed = [name for name in command if not isinstance(old, dict) or old.get(name) != command[name]]
        raise ValueError(f"{part.name} is of another training ({', '.join(changed)}); remove it, or name another -o")
    return start


def _trained(training: Any, part: Path, command: dict[str, Any], start: Any) -> Any:
    """What was learned; the state is kept in `part` every few seconds and at an interruption."""
    from tqdm import tqdm

    from mmlib.learning import saved

    latest: list[Any] = []
    bar = tqdm(disable=None, leave=False, file=sys.stderr, unit=f" {training.unit}", unit_scale=True)
    kept = time.monotonic()

    def keep():
        if latest:
            files.save({part: saved.pack("training", latest[0], {"command": command})})

    def watch(done, total, state):
        nonlocal kept
        latest[:] = [state]
        bar.total, bar.n = total, done
        bar.refresh()
        if time.monotonic() - kept > SAVED_EVERY:
            kept = time.monotonic()
            keep()

    try:
        with bar:
            return training.learn(watch, start)
    except KeyboardInterrupt:
        keep()
        if latest or start is not None:
            typer.echo(f"mmlib: interrupted; the same command goes on from {part.name}", err=True)
        raise
