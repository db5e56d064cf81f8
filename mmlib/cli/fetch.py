"""`mmlib fetch`: a file of a public source, with its terms; the only command that uses a network."""

from pathlib import Path
from typing import Annotated

import typer

from mmlib import __version__
from mmlib import _public_data as public
from mmlib._notebooks import did_you_mean
from mmlib.cli import files
from mmlib.cli.ending import by_signal, refuse
from mmlib.cli.simulate import Pairs

LISTED = f"One of {', '.join(public.SOURCES)}; without it the sources are listed."


def _known(incomplete: str) -> list[str]:
    """What a shell may complete."""
    return [name for name in public.SOURCES if name.startswith(incomplete)]


def fetch(
    source: Annotated[
        str, typer.Argument(metavar="[SOURCE]", help=LISTED, show_default=False, autocompletion=_known)
    ] = "",
    parameter: Pairs = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="By default `data` of mmlib.toml, else this folder."),
    ] = None,
    base: Annotated[str, typer.Option(metavar="URL", help="A mirror's scheme, host and path, for the owner's.")] = "",
    agent: Annotated[
        str, typer.Option(metavar="TEXT", help="Who asks; the SEC wants a name and an e-mail address.")
    ] = "",
) -> None:
    """Download a public file: its terms and what to cite first, then bytes, lines and SHA-256.

    What is broken off goes on with the same command. The checksum is recorded at the first fetch (FILE.sha256), and
    verified at each later one.

    \b
    mmlib fetch finra-short-volume -p date 2021-04-27 -o data
    """
    if not source:
        for name, one in public.SOURCES.items():
            options = " ".join(f"-p {key} {example}" for key, (_, _, example) in one.parameters.items())
            typer.echo(f"{name}: {one.what}\n    mmlib fetch {name} {options}")
        return
    if source not in public.SOURCES:
        refuse(f"no source {source!r}{did_you_mean(source, public.SOURCES)}; `mmlib fetch` lists them")
    chosen = public.SOURCES[source]
    from mmlib import settings

    try:
        here = settings.read()
        url, name = public.address(chosen, _values(source, chosen, parameter or []), base)
    except ValueError as error:
        refuse(str(error))
    target = files.target((output or Path(here.data or ".")) / name)
    typer.echo(f"{chosen.what}\nfrom:  {url}\npage:  {chosen.page}\nterms: {chosen.terms}\ncite:  {chosen.cite}")
    with by_signal():
        from tqdm import tqdm

        with tqdm(desc=name, unit="B", unit_scale=True, disable=None, leave=False) as bar:

            def watch(have: int, total: int) -> None:
                bar.total = total or None
                bar.update(have - bar.n)

            try:
                found = public.fetch(
                    chosen, url, target, agent=agent or f"mmlib/{__version__}", timeout=here.timeout, watch=watch
                )
            except public.FetchError as error:
                bar.close()
                refuse(str(error), code=1)
            except OSError as error:
                bar.close()
                refuse(f"cannot write {error.filename or target}: {error.strerror or error}", code=1)
    typer.echo(f"{found.size:,} bytes, {found.lines:,} lines\nsha256: {found.sha256} ({found.checked})")
    typer.echo(f"written: {target}")


def _values(name: str, source: public.Source, pairs: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, text in (pair.split("\0") for pair in pairs):
        if key not in source.parameters:
            has = ", ".join(source.parameters)
            refuse(f"{name} has no parameter {key!r}{did_you_mean(key, source.parameters)}; it has {has}")
        if key in found:
            refuse(f"parameter {key!r} is given twice")
        found[key] = text
    return found
