"""What the project's operators and sensor have in common, in anybody's DAG."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import Asset, RetryPolicy

from bcda.bounds import within_xcom
from bcda.errors import InvalidRequestError
from bcda_provider import arguments
from bcda_provider.dag_connections import ARGUMENTS, check_connections, declared_in
from bcda_provider.failures import told
from bcda_provider.retry import BcdaRetryPolicy
from bcda_provider.sources import is_of_project

if TYPE_CHECKING:
    from airflow.sdk import Context


class BcdaTask:
    """What the project's operators and sensor have in common; goes before Airflow's class among the bases.

    Subclasses do their work in `work` and in the methods that they defer to. An error of the library is logged as one
    sentence before Airflow prints its traceback, and once more when Airflow is done with it.

    A task uses connections that the DAG's author wrote; see `dag_connections`.

    All arguments of Airflow's `BaseOperator` can be given, alone and to `partial`. `retry_policy` is the project's unless one
    is given, by the task or by `default_args`; None turns it off. The project's own outlets come on top of those given.
    """

    policy: ClassVar[RetryPolicy] = BcdaRetryPolicy()
    """Decides about retries of a task that gives no policy of its own."""

    failure_text = ""
    """The sentence of the try that failed; empty before."""

    bcda_conn_id: Any

    as_written: Mapping[str, Any] = MappingProxyType({})
    """Arguments that name a connection, before templates are rendered; of a mapped task none."""

    def __init__(
        self,
        *,
        own_outlets: Sequence[Asset] = (),
        allowed_connections: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        # None of a task that is not mapped: `partial` fills it.
        self.allowed_connections = (
            tuple(allowed_connections) if allowed_connections is not None else declared_in(kwargs.get("params"))
        )
        default_args = kwargs.get("default_args") or {}
        kwargs.setdefault("retry_policy", default_args.get("retry_policy", self.policy))
        if own_outlets:
            kwargs["outlets"] = together(kwargs.get("outlets", default_args.get("outlets")), own_outlets)
        super().__init__(**kwargs)

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Begin a mapped task, as Airflow asks, with what this class adds to a task that is not mapped.

        Airflow fills everything that is not given with its own defaults before it makes the task of one map index, so that
        the constructor could not tell these from what a user gave.

        Args:
            kwargs: arguments that all map indexes share.
        """
        # Airflow knows the arguments of its own classes here, and those of the operator itself.
        allowed = kwargs.pop("allowed_connections", None)
        begun = super().partial(**kwargs)  # type: ignore[misc]  # Airflow's base
        if "retry_policy" not in kwargs and begun.kwargs.get("retry_policy") is None:
            begun.kwargs["retry_policy"] = cls.policy
        if own := cls.outlets_of(begun.kwargs):
            begun.kwargs["outlets"] = together(begun.kwargs.get("outlets"), own)
        declared = declared_in(begun.params)
        begun.kwargs["allowed_connections"] = tuple(allowed) if allowed is not None else declared
        return begun

    def render_template_fields(self, context: "Context", jinja_env: Any = None) -> None:
        """Render the arguments, and keep how the author wrote those that name a connection; Airflow calls this.

        Args:
            context: of the task.
            jinja_env: environment of the templates.
        """
        self.as_written = self.written()
        super().render_template_fields(context, jinja_env)  # type: ignore[misc]  # Airflow's base

    def written(self) -> Mapping[str, Any]:
        """Return the arguments that name a connection as the author of the DAG wrote them, also once they are rendered."""
        return self.as_written or {name: getattr(self, name, None) for name in ARGUMENTS}

    @classmethod
    def outlets_of(cls, given: Mapping[str, Any]) -> Sequence[Asset]:  # noqa: ARG003 - the interface's
        """Return the outlets that are known from arguments before any template is rendered.

        Args:
            given: arguments of the task.
        """
        return ()

    def execute(self, context: "Context") -> Any:
        """Do the task's work.

        Args:
            context: of the task.
        """
        with told(self, context):
            self._check_connection(context)
            return within_xcom(self.work(context))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: "Context") -> Any:
        """Go on after a deferral, as Airflow asks.

        Args:
            next_method: name of the method that the task deferred to.
            next_kwargs: its arguments, the event among them.
            context: of the task.
        """
        with told(self, context):
            self._check_connection(context)
            result = super().resume_execution(next_method, next_kwargs, context)  # type: ignore[misc]  # Airflow's base
            return within_xcom(result)

    def _check_connection(self, context: "Context") -> None:
        check_connection(self.bcda_conn_id, context)
        dag = self.dag if self.has_dag() else None  # type: ignore[attr-defined]  # Airflow's base
        check_connections(self, dag)

    def work(self, context: "Context") -> Any:
        """Do the work; what it returns becomes the task's result."""
        raise NotImplementedError


def together(given: Any, own: Sequence[Asset]) -> list[Any]:
    """Return the outlets of a task: those that were given, in whatever form Airflow takes, then those that are missing.

    Args:
        given: None, one outlet, or a collection of them.
        own: outlets of the project.
    """
    listed = [] if not given else list(given) if isinstance(given, list | tuple | set) else [given]
    return [*listed, *(asset for asset in own if asset not in listed)]


def known_source(given: Mapping[str, Any]) -> str:
    """Return the connection whose assets a task updates, empty while a template or a mapped argument names it.

    Args:
        given: arguments of the task: `source`, and `bcda_conn_id` that it stands for by default.
    """
    named = given.get("source") or given.get("bcda_conn_id")
    return named if isinstance(named, str) and "{{" not in named and "{%" not in named else ""


def check_connection(source: Any, context: Any) -> None:
    """Check that the task has a connection and that its run names no other one; version 1.0 had a field for it.

    A DAG of this project is one connection's. In other DAGs a run's configuration means what their author says.

    Args:
        source: connection of the task, rendered.
        context: of the task that is about to begin.

    Raises:
        InvalidRequestError: there is none, or the run names another one.
    """
    arguments.text("bcda_conn_id", source)
    run = (context or {}).get("dag_run")
    if not is_of_project(getattr(run, "dag_id", ""), source):
        return
    conf = getattr(run, "conf", None) or {}
    named = next((conf[key] for key in ("conn_id", "bcda_conn_id") if conf.get(key, source) != source), source)
    if named != source:
        raise InvalidRequestError(
            f"The run configuration names the connection {str(named)[:64]!r}, and this DAG uses {source}. The task did not "
            "start. Trigger the DAG of the other connection; each connection in BCDA_SOURCES has its own DAGs."
        )
