"""A desk's morning report: what to do, how the book stands, and the pictures to look at, in one folder.

    report.write(book, "2025-10-02", "report")

    report/report.html     one page that loads nothing: tables and pictures
    report/tickets.csv     what to do (`tickets.read` reads it back)
    report/kpis.csv        KPIs of the day: the book, then by bucket, pool and client
    report/forecast.csv    tomorrow's demand by name, with a 90 % interval, and what to borrow for it tonight

The day is the best allocation of its close (`allocation.problem`, `solve`, `round_lots`) against the loans open then.
"""

import base64
import errno
import html
import io
import os
import secrets
import shutil
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mmlib import plotting
from mmlib.checks import nonnegative
from mmlib.stock_loan import _csv_tables, allocation, kpis, support, tables, tickets
from mmlib.stock_loan._tomorrow import tomorrow

FILES = ("tickets.csv", "kpis.csv", "forecast.csv", "report.html")
GROUPS = {"book": [], "bucket": ["bucket"], "pool": ["pool_id"], "client": ["client_id"]}
HEAT_NAMES, HEAT_DAYS, CHANGES = 25, 30, 12  #: names and trade dates of the heat map, names in "what changed"
LETTERS = 16  #: of a name that a picture has room for

_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:auto;padding:1rem;color:#222}
table{border-collapse:collapse;font-size:.85rem;display:block;overflow-x:auto}
th,td{padding:.2rem .6rem;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}
img{max-width:100%;height:auto}figure{margin:1rem 0}figcaption{font-size:.9rem;color:#444}"""


def write(
    book: tables.Book,
    date,
    folder: str | Path,
    *,
    turnover_cost: float = 0.02,
    rerate: float = 0.0,
    shortage: float = 300.0,
    excess: float = 60.0,
) -> Path:
    """Write the report of a day.

    Parameters
    ----------
    book : tables.Book
    date : datetime-like
        A trade date of the book.
    folder : str or Path
        Made if it does not exist; the report's four files in it are replaced, each whole, others are left alone.
    turnover_cost : float
        Cost of opening or closing a loan, bp of its value, >= 0.
    rerate : float
        Smallest change of a fee that is worth a ticket, bp a year, >= 0, as in `tickets.table`.
    shortage, excess : float
        What a dollar of tomorrow's demand not borrowed for costs, and one borrowed for nothing, bp a year, > 0.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    ValueError
        If the date is no trade date of the book, or the day's allocation needs what the book does not say.
    OSError
        If the folder cannot be written; what was there stays.
    """
    folder = Path(folder)
    nonnegative("turnover_cost", turnover_cost, "bp of value")
    nonnegative("rerate", rerate, "bp a year")
    problem = allocation.problem(book, date, turnover_cost=turnover_cost)
    date = pd.Timestamp(date)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    for name in FILES:
        if (folder / name).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(folder / name))
    near = folder if folder.is_dir() else folder.parent  # on the device of the folder, which may be a mount point
    temporary = near / f".mmlib-{secrets.token_hex(8)}"
    try:
        temporary.mkdir(0o700)  # before the work: it may be forbidden
        solution = tickets.whole(allocation.round_lots(allocation.solve(problem)))
        found = tickets.table(book, date, solution, rerate)
        steps = tickets.bridge(book, date, solution, rerate)
        day = kpi_table(book, date)
        ahead = tomorrow(book, date, solution, shortage=shortage, excess=excess)
        text = page(book, date, solution, found, steps, day, ahead)
        tickets.write(found, temporary / "tickets.csv")
        _csv_tables.refuse_formulas(day.reset_index(), ["name"], "kpis.csv")
        _csv_tables.refuse_formulas(ahead.reset_index(), ["security"], "forecast.csv")
        day.to_csv(temporary / "kpis.csv", lineterminator="\n")
        ahead.to_csv(temporary / "forecast.csv", lineterminator="\n", float_format="%.2f")
        (temporary / "report.html").write_text(text, encoding="utf-8", newline="")
        folder.mkdir(exist_ok=True)
        for name in FILES:
            os.replace(temporary / name, folder / name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder / "report.html"


def kpi_table(book: tables.Book, date) -> pd.DataFrame:
    """Every KPI of `kpis.table` on one day, for the book and by bucket, pool and client; NaN where it is not known.

    Returns
    -------
    DataFrame
        Indexed by group ("book", "bucket", "pool", "client") and name.
    """
    parts = {}
    for group, by in GROUPS.items():
        every = kpis.table(book, by, "day")
        day = every[every.index.get_level_values("period") == pd.Timestamp(date)]
        parts[group] = day.set_axis(day.index.get_level_values(by[0]) if by else ["all"], axis=0)
    return pd.concat(parts, names=["group", "name"])


def page(
    book: tables.Book,
    date: pd.Timestamp,
    solution: allocation.Solution,
    found: pd.DataFrame,
    steps: pd.Series,
    day: pd.DataFrame,
    ahead: pd.DataFrame,
) -> str:
    """The report as HTML that loads nothing.

    Parameters
    ----------
    found, steps : DataFrame, Series
        From `tickets.table` and `tickets.bridge`.
    day : DataFrame
        From `kpi_table`.
    ahead : DataFrame
        Tomorrow's demand and the pre-borrow by name.
    """
    gain = steps.drop(["today", "not re-rated", "solution"]).sum()
    counts = found["ticket"].value_counts().reindex(list(tickets.KINDS), fill_value=0)
    lines = [
        f"Today's loans earn {steps['today']:,.0f} dollars a day, with the tickets {steps['today'] + gain:,.0f}:"
        f" {gain:,.0f} more, after {-steps['turnover']:,.0f} for moving. Returning what no client needs and nothing"
        f" else brings {_returned_only(found):,.0f}.",
        f"{len(found)} tickets: " + ", ".join(f"{n} {kind}" for kind, n in counts.items()) + "; in tickets.csv.",
    ]
    if tickets.one_lender(book):
        lines.append(
            "The files name no lenders: a pool's fee is the average of a name's loans, so no ticket changes a fee or"
            " moves a loan from one lender to another."
        )
    broken = allocation.broken(solution.problem, solution.problem.previous)
    if len(broken):
        listed = "; ".join(f"{row.limit} {row.security} {row.party}".strip() for row in broken.head(5).itertuples())
        lines.append(f"Today's book breaks {len(broken)} limits: {listed}{' ...' if len(broken) > 5 else ''}.")
    whole = day.xs("book", level="group")
    unknown = sorted(column for column in map(str, day) if whole[column].isna().any())
    if unknown:
        lines.append("Not known from these files: " + ", ".join(unknown) + ".")
    lines += list(getattr(book, "notes", ()))
    lines.append(f"Demand is {solution.problem.demand_basis}.")
    assumed = solution.problem.assumed
    if assumed is not None and len(assumed):
        lines.append(f"{len(assumed)} numbers are not in the files; stood in for by " + ", ".join(set(assumed["from"])))
    percent = [
        c
        for c in map(str, day)
        if c.startswith(("utilisation", "idle", "fee_weighted", "spread", "internal", "recall"))
    ]
    shown = day.copy().astype(object)
    for column in map(str, day):
        form = "{:.1%}" if column in percent else "{:,.0f}" if column.endswith(("value", "accrual")) else "{:,.1f}"
        shown[column] = day[column].map(lambda v, form=form: "" if pd.isna(v) else form.format(v))
    top = found.head(20).drop(columns="trade_date")
    top = top.assign(dollars_a_day=top["dollars_a_day"].map("{:,.0f}".format))
    body = [f"<h1>Stock loan, {date:%A %d %B %Y}</h1>", *(f"<p>{html.escape(line)}</p>" for line in lines)]
    body += ["<h2>Tickets worth most</h2>", top.to_html(index=False, border=0, float_format="{:,.2f}".format)]
    body += ["<h2>Tomorrow's demand, and what to borrow for it</h2>", *_ahead(ahead)]
    body += [_picture(*entry) for entry in pictures(book, date, solution, steps)]
    body += ["<h2>KPIs of the day</h2>", shown.T.to_html(border=0)]
    supported = support.report(book)
    if not supported["supported"].all():
        missing = supported.loc[~supported["supported"], ["missing"]]
        body += ["<h2>What the files do not support</h2>", missing.to_html(border=0)]
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Stock loan {date:%F}</title>'
    )
    head = f'<html lang="en"><head>{head}<style>{_STYLE}</style></head>'
    return f"<!DOCTYPE html>{head}<body>{''.join(body)}</body></html>\n"


def _ahead(ahead):
    """Paragraph and table of tomorrow's demand: the ten names with the dearest pre-borrow."""
    known = ahead[ahead["error"] == ""]
    if known.empty:
        return ["<p>Not forecast: it takes 30 days with locates.</p>"]
    text = f"{(known['pre_borrow'] > 0).sum()} of {len(known)} names need {known['dollars'].sum():,.0f} dollars more."
    if len(known) < len(ahead):
        text += f" {len(ahead) - len(known)} names are not forecast: the reason is in forecast.csv."
    needed = known[known["pre_borrow"] > 0].drop(columns=["model", "error"])
    top = needed.sort_values("dollars", ascending=False, kind="stable").head(10)
    table = top.to_html(border=0, float_format="{:,.0f}".format)
    return [f"<p>{text} Shares; 5 %, 50 % and 95 % of demand.</p>", table]


def _returned_only(found):
    """What the returns of loans at no fee bring, dollars a day: the simplest rule."""
    return found.loc[(found["ticket"] == "return") & (found["loan_fee"] == 0), "dollars_a_day"].sum()


def pictures(book: tables.Book, date: pd.Timestamp, solution: allocation.Solution, steps: pd.Series) -> list:
    """What a desk looks at: (title, alt text, Figure) of each picture."""
    waterfall = "Waterfall of dollars a day from today's loans to the best allocation"
    flows = "Value of the best allocation, pools left, clients right"
    with mpl.rc_context():
        plotting.style()
        return [
            ("Today to best", waterfall, _waterfall(steps)),
            ("Where utilisation is", *_heat(book, date)),
            ("The scarcest name", *_ladder(solution)),
            ("From pool to client", flows, _flows(solution)),
            ("What changed since yesterday", *_changes(book, date)),
        ]


def _labels(names):
    """Names as a picture writes them: cut to its room, and `$` a letter, no mathematics."""
    cut = (name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}…" for name in map(str, names))
    return [name.replace("$", r"\$") for name in cut]


def _picture(title, alt, figure):
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=144, metadata={"Software": None})
    data = base64.b64encode(stream.getvalue()).decode()
    return (
        f'<h2>{html.escape(title)}</h2><figure><img src="data:image/png;base64,{data}" alt="{html.escape(alt)}">'
        f"<figcaption>{html.escape(alt)}.</figcaption></figure>"
    )


def _waterfall(steps):
    steps = steps[(steps.abs() >= 0.5) | steps.index.isin(["today", "solution"])]
    start = np.append(0.0, steps.cumsum().to_numpy()[:-1])
    start[-1] = 0.0
    figure = Figure(figsize=(7, 3.2))
    ax = figure.subplots()
    colours = [plotting.COLOURS[0 if name in ("today", "solution") else 2 if v > 0 else 1] for name, v in steps.items()]
    ax.bar(steps.index, steps, bottom=start, color=colours)
    for i, (amount, foot) in enumerate(zip(steps, start, strict=True)):
        ax.annotate(f"{amount:,.0f}", (i, max(foot, foot + amount)), ha="center", va="bottom")
    ax.margins(y=0.12)
    ax.set(ylabel="dollars a day")
    ax.tick_params(axis="x", labelsize=9)
    return figure


def _daily(book, date, column):
    """A KPI by name (rows) and trade date up to `date`."""
    found = kpis.table(book, ["security_id"], "day")[column].reset_index()
    found = found[found["period"] <= date]
    return found.pivot_table(index="security_id", columns="period", values=column, aggfunc="first", dropna=False)


def _heat(book, date):
    daily = _daily(book, date, "utilisation_value").iloc[:, -HEAT_DAYS:]
    names = daily.iloc[:, -1].fillna(-1).sort_values(ascending=False, kind="stable").index[:HEAT_NAMES]
    figure = Figure(figsize=(7, 4.5))
    ax = figure.subplots()
    image = ax.imshow(daily.loc[names], aspect="auto", cmap="cividis_r", vmin=0, vmax=1, interpolation="nearest")
    ax.set_yticks(range(len(names)), _labels(names), fontsize=8)
    step = max(1, daily.shape[1] // 5)
    ax.set_xticks(range(0, daily.shape[1], step), [f"{d:%d %b}" for d in daily.columns[::step]])
    ax.set(xlabel="trade date", ylabel="name")
    ax.grid(visible=False)
    figure.colorbar(image, label="utilisation")
    return f"Utilisation by value of the {len(names)} names lent most, over {daily.shape[1]} trade dates", figure


def _ladder(solution):
    """Supply by cost and demand by fee of the name whose wanted shares exceed or fill its supply most, in dollars."""
    p = solution.problem
    wanted, there = p.demand.sum(1), p.supply.sum(1)
    fee = np.divide((p.client_fee * p.demand).sum(1), wanted, where=wanted > 0, out=np.zeros(len(wanted)))
    tight = np.divide(np.minimum(wanted, there), there, where=there > 0, out=np.ones(len(wanted)) * (wanted > 0))
    s = int(np.argmax(np.where(tight >= 0.75 * tight.max(initial=0), fee, -1.0)))
    figure = Figure(figsize=(7, 3.2))
    ax = figure.subplots()
    for price, shares, sign, label, style in (
        (p.source_cost[s], p.supply[s], 1, "pools, by cost", "-"),
        (p.client_fee[s], p.demand[s], -1, "clients, by fee", "--"),
    ):
        order = np.argsort(sign * price, kind="stable")
        order = order[shares[order] > 0]
        at = np.append(0.0, np.cumsum(shares[order]))
        if len(order):
            ax.stairs(price[order], at, baseline=None, linestyle=style, linewidth=2, label=label)
    ax.set(xlabel="shares, cumulated", ylabel="fee (bp a year)", ylim=(0, None))
    ax.legend()
    return f"{p.securities[s]}: shares of the pools by cost, and what clients want by the fee they pay", figure


def _flows(solution):
    p = solution.problem
    millions = np.einsum("s,skc->kc", p.price, solution.allocation) / 1e6
    used = millions.sum(1) > 0
    figure = Figure(figsize=(7, 4))
    ax = figure.subplots()
    if used.any():
        plotting.flow(ax, millions[used], _labels(np.array(p.pools)[used]), _labels(p.clients))
    ax.set(xlabel="million dollars")
    return figure


def _changes(book, date):
    daily = _daily(book, date, "on_loan_value").fillna(0.0)
    yesterday = daily.iloc[:, -2] if daily.shape[1] > 1 else 0.0 * daily.iloc[:, -1]
    change = (daily.iloc[:, -1] - yesterday) / 1e6
    change = change.reindex(change.abs().sort_values(ascending=False, kind="stable").index[:CHANGES])
    figure = Figure(figsize=(7, 3.2))
    ax = figure.subplots()
    ax.bar(range(len(change)), change, color=[plotting.COLOURS[2 if v > 0 else 1] for v in change])
    ax.set_xticks(range(len(change)), _labels(change.index))
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set(ylabel="million dollars")
    ax.tick_params(axis="x", labelsize=9, labelrotation=60)
    since = "nothing before this day" if daily.shape[1] < 2 else f"since {daily.columns[-2]:%d %b}"
    return f"Change of the value on loan, the {len(change)} names that moved most, {since}", figure
