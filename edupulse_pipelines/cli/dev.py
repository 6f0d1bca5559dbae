"""`edupulse dev`: the user interfaces of Dagster and MLflow on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from edupulse_pipelines.cli.home import settings_of
from edupulse_pipelines.cli.options import command
from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.risk.book.mlflow_pages import MLFLOW_PORT, server_of, start_page
from edupulse_pipelines.settings import forget_keeper


@click.command()
@click.option(
    "--dagster-port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port of the Dagster UI."
)
@click.option(
    "--mlflow-port",
    type=click.IntRange(1, 65535),
    default=MLFLOW_PORT,
    show_default=True,
    help="Port of the MLflow UI.",
)
@command
def dev(dagster_port: int, mlflow_port: int, home: Path | None) -> None:
    """The Dagster and the MLflow UI over the home, on this machine only, until Ctrl-C.

    The weekly schedule runs while this does.
    """
    from edupulse_pipelines.cli.output.drawing import console
    from edupulse_pipelines.orchestration.homes import dagster_instance, secrets_in_the_file
    from edupulse_pipelines.orchestration.servers import Server, development_servers, serve
    from edupulse_pipelines.risk.book.mlflow_connection import make_store
    from edupulse_pipelines.storage.database import database_of

    forget_keeper()
    settings = settings_of(home, placeholder=True)
    on = console()
    database_of(settings).ensure_current()  # now rather than in a failed run
    if secrets := secrets_in_the_file(settings.dagster_home):
        raise ConfigurationError(
            f"{settings.dagster_home / 'dagster.yaml'}: {secrets[0]} stands in the file itself, and `dagster dev` "
            "would show it in the list of processes, to every user of this machine. Name an environment variable that "
            "holds it instead: `env: NAME`."
        )
    with dagster_instance(settings):  # makes its store, before several processes open it
        pass
    make_store(settings.tracking_uri)
    servers = development_servers(settings, dagster_port, mlflow_port)
    on.print(
        f"[dim]Starting over {settings.home}; logs in {settings.home / 'logs'}. Ctrl-C stops both.[/]", soft_wrap=True
    )

    def ready(server: Server) -> None:
        on.print(f"  [green]✓[/] {server.name:<10} {server.url}")

    if settings.tracking_uri.startswith("http"):
        page = start_page(server_of(settings.tracking_uri))
        on.print(f"  [dim]-[/] {'MLflow':<10} {page} runs elsewhere (MLFLOW_TRACKING_URI)", soft_wrap=True)
    serve(servers, settings, ready=ready, stopping=lambda: on.print("[dim]Stopping …[/]"))
    on.print("Stopped.")
