"""The arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

App = Annotated[
    str | None,
    typer.Option("--app", metavar="MODULE:ATTR", envvar="GELLO_APP", help="The Gello app, as in myapp.main:gello."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]
Modules = Annotated[
    list[str] | None, typer.Argument(metavar="MODULE", help="Modules and packages whose jobs are known besides.")
]

ReasonName = Literal["error", "timeout", "crashed", "invalid_payload", "unknown_job", "expired"]
"""As in `Reason`, which would cost `--help` an import of Dramatiq."""

OfQueue = Annotated[str | None, typer.Option("--queue", metavar="NAME", help="Only of this queue.")]
OfName = Annotated[str | None, typer.Option("--name", metavar="NAME", help="Only of this job.")]
ForReason = Annotated[ReasonName | None, typer.Option("--reason", help="Only for this reason.")]
Since = Annotated[
    str | None, typer.Option("--since", metavar="WHEN", help='Failed at or after: "2h" ago, or "2026-01-31 14:00".')
]
Before = Annotated[str | None, typer.Option("--before", metavar="WHEN", help="Failed before, written likewise.")]
Containing = Annotated[
    str | None,
    typer.Option("--text", metavar="TEXT", help="Somewhere in the name, the error, the traceback or the payload."),
]
