"""What `airflow bcda` knows. Every `airflow` command reads this module, so the work is in another one."""

from airflow.cli.cli_config import ARG_VERBOSE, ActionCommand, Arg, CLICommand, GroupCommand, lazy_load_command

from bcda.settings import ApiVersion
from bcda.storage.places import DEFAULT_SOURCE

_CONN_ID = Arg(("--conn-id",), default=DEFAULT_SOURCE, help="connection of type bcda, by default %(default)s")
_API_VERSION = Arg(
    ("--api-version",), choices=[version.value for version in ApiVersion], help="instead of the connection's"
)


def get_cli_commands() -> list[CLICommand]:
    """Return the commands that this provider adds to Airflow's own."""
    doctor = ActionCommand(
        name="doctor",
        help="Say in one screen what is wrong between this machine and an export",
        description="Looks at the connection, step by step, and at the folders below BCDA_HOME. Changes nothing. "
        "Exit code 1 when a check failed; warnings do not count.",
        func=lazy_load_command("bcda_provider.doctor.doctor"),
        args=(_CONN_ID, _API_VERSION, ARG_VERBOSE),
    )
    return [GroupCommand(name="bcda", help="BCDA", subcommands=(doctor,))]
