"""`python -m mmlib.cli`."""

from mmlib.cli import app

app()
