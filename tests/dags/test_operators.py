"""The operators in someone else's DAG: alone, with templates, mapped, and with arguments of the author's own."""

import inspect
import json
import textwrap
from collections import Counter
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from code_blocks import blocks
from plain_export import planned

from bcda_simulator.world import World

PAGE = "docs/airflow-operators.md"
OF_RUN = {"bcda_conn_id": "bcda_default", "run_id": "20261110T060000Z-patient-v2-abcdef"}
LEAST = {
    "BcdaCheckListOperator": {"bcda_conn_id": "bcda_default"},
    "BcdaEndOfGapsOperator": {"bcda_conn_id": "bcda_default", "merge_task_id": "merge"},
    "BcdaFetchOperator": OF_RUN,
    "BcdaJobSensor": {**OF_RUN, "job_id": "7"},
    "BcdaKickOffOperator": OF_RUN,
    "BcdaLandOperator": OF_RUN,
    "BcdaMaintainOperator": {"bcda_conn_id": "bcda_default", "step": "vacuum"},
    "BcdaMergeOperator": OF_RUN,
    "BcdaPlanOperator": {"bcda_conn_id": "bcda_default", "scope": "patient"},
    "BcdaPublishOperator": {"bcda_conn_id": "bcda_default"},
    "BcdaReportOperator": {"bcda_conn_id": "bcda_default"},
    "BcdaStartMissedOperator": {"bcda_conn_id": "bcda_default", "weekly_dag_id": "weekly"},
}
"""Every operator, with the arguments that it cannot do without."""

HAVE_OUTLETS = {"BcdaCheckListOperator": 1, "BcdaMergeOperator": 24}
SECOND = "bcda_second"
START = datetime(2026, 11, 10, 12, tzinfo=UTC)

every_operator = pytest.mark.parametrize("name", sorted(LEAST))


def operator_of(name):
    from bcda_provider import operators
    from bcda_provider.operators.start_missed import BcdaStartMissedOperator
    from bcda_provider.sensors import BcdaJobSensor

    return {"BcdaStartMissedOperator": BcdaStartMissedOperator, "BcdaJobSensor": BcdaJobSensor}.get(name) or getattr(
        operators, name
    )


@pytest.fixture
def in_dag(airflow_database):
    """Make tasks in a DAG of someone's own, which has neither our params nor our task groups."""
    from airflow.sdk import DAG

    def make(build, **options):
        with DAG("theirs", schedule=None, **options) as dag:
            build()
        return dag.get_task("it")

    return make


def through_the_scheduler(task):
    """Return a task as scheduler and API server know it: from the JSON in Airflow's database."""
    from airflow.serialization.serialized_objects import DagSerialization

    stored = json.loads(json.dumps(DagSerialization.to_dict(task.dag)))
    return DagSerialization.from_dict(stored).get_task(task.task_id)


def of_second(task):
    """Return the task of the second map index, as a worker makes it."""
    return task.unmap({"bcda_conn_id": SECOND})


def test_every_operator_is_in_this_matrix():
    from bcda_provider import operators

    assert set(LEAST) == {*operators.__all__, "BcdaStartMissedOperator", "BcdaJobSensor"}


@every_operator
def test_every_argument_is_a_template(name):
    given = inspect.signature(operator_of(name).__init__).parameters
    arguments = {argument for argument in given if argument not in {"self", "kwargs"}}
    assert set(operator_of(name).template_fields) == arguments


@every_operator
def test_alone_it_is_ours_and_every_argument_is_rendered(name, in_dag):
    from bcda_provider.retry import BcdaRetryPolicy

    cls = operator_of(name)
    texts = dict.fromkeys(cls.template_fields, "{{ params.one }}")
    task = in_dag(lambda: cls(task_id="it", **LEAST[name]))
    assert isinstance(task.retry_policy, BcdaRetryPolicy)
    assert len(task.outlets) == HAVE_OUTLETS.get(name, 0)
    known = through_the_scheduler(task)
    assert known.has_retry_policy
    assert len(known.outlets) == HAVE_OUTLETS.get(name, 0)

    templated = in_dag(lambda: cls(task_id="it", **texts))
    assert templated.outlets == []
    assert through_the_scheduler(templated).template_fields
    templated.render_template_fields({"params": {"one": "rendered"}})
    assert {getattr(templated, argument) for argument in cls.template_fields} == {"rendered"}


@every_operator
def test_mapped_it_is_as_when_it_is_alone(name, in_dag):
    from bcda_provider.retry import BcdaRetryPolicy

    cls = operator_of(name)
    shared = {argument: value for argument, value in LEAST[name].items() if argument != "bcda_conn_id"}
    mapped = in_dag(lambda: cls.partial(task_id="it", **shared).expand(bcda_conn_id=["bcda_default", SECOND]))
    assert through_the_scheduler(mapped).has_retry_policy
    task = of_second(mapped)
    assert isinstance(task.retry_policy, BcdaRetryPolicy)
    assert task.retry_policy.serialize() == cls.policy.serialize()
    assert task.bcda_conn_id == SECOND
    assert {asset.uri.rpartition("/")[2] for asset in task.outlets} <= {SECOND}
    assert len(task.outlets) == HAVE_OUTLETS.get(name, 0)

    by_dicts = in_dag(lambda: cls.partial(task_id="it", retries=4).expand_kwargs([LEAST[name]]))
    through_the_scheduler(by_dicts)
    task = by_dicts.unmap(LEAST[name])
    assert (task.retries, isinstance(task.retry_policy, BcdaRetryPolicy)) == (4, True)

    # Where the connection is shared, Airflow knows the assets when it reads the DAG.
    one = in_dag(lambda: cls.partial(task_id="it", **LEAST[name]).expand(params=[{}, {}]))
    assert len(through_the_scheduler(one).outlets) == HAVE_OUTLETS.get(name, 0)
    assert len(one.unmap({"params": {}}).outlets) == HAVE_OUTLETS.get(name, 0)


@every_operator
@pytest.mark.parametrize("is_mapped", [False, True], ids=["alone", "mapped"])
def test_the_authors_own_arguments_are_kept(name, is_mapped, in_dag):
    from airflow.sdk import Asset, ExceptionRetryPolicy

    cls = operator_of(name)
    theirs, source = Asset("theirs"), Asset("their_source")

    def tell(context):
        """Do nothing."""

    own = {
        "retry_policy": ExceptionRetryPolicy(rules=[]),
        "inlets": [source],
        "pre_execute": tell,
        "post_execute": tell,
        "on_failure_callback": tell,
        "on_success_callback": [tell],
        "on_retry_callback": tell,
        "on_execute_callback": tell,
        "on_skipped_callback": tell,
        "retries": 3,
        "retry_delay": timedelta(seconds=5),
        "pool": "theirs",
        "pool_slots": 2,
        "queue": "theirs",
        "executor_config": {"theirs": 1},
        "trigger_rule": "none_failed",
        "execution_timeout": timedelta(hours=1),
        "depends_on_past": True,
        "doc_md": "Theirs.",
    }
    for outlets in (theirs, [theirs]):
        if is_mapped:
            shared = {argument: value for argument, value in LEAST[name].items() if argument != "bcda_conn_id"}
            begun = {"task_id": "it", **shared, **own, "outlets": [theirs]}
            whole = in_dag(lambda begun=begun: cls.partial(**begun).expand(bcda_conn_id=["bcda_default", SECOND]))
            task = of_second(whole)
        else:
            given = {"task_id": "it", **LEAST[name], **own, "outlets": outlets}
            whole = task = in_dag(lambda given=given: cls(**given))
        known = through_the_scheduler(whole)
        assert task.retry_policy is own["retry_policy"]
        assert task.outlets[0] == theirs
        assert len(task.outlets) == 1 + HAVE_OUTLETS.get(name, 0)
        assert task.inlets == [source]
        assert (task._pre_execute_hook, task._post_execute_hook) == (tell, tell)
        callbacks = {getattr(task, f"on_{event}_callback")[0] for event in ("failure", "success", "retry", "skipped")}
        assert callbacks == {tell}
        same = ("retries", "retry_delay", "pool", "pool_slots", "queue", "executor_config", "doc_md", "depends_on_past")
        assert {field: getattr(task, field) for field in same} == {field: own[field] for field in same}
        assert task.trigger_rule == "none_failed"
        assert (known.retries, known.pool, known.queue) == (3, "theirs", "theirs")


@every_operator
def test_default_args_of_the_dag_count_and_none_is_no_policy(name, in_dag):
    from airflow.sdk import Asset, ExceptionRetryPolicy

    cls = operator_of(name)
    theirs, policy = Asset("theirs"), ExceptionRetryPolicy(rules=[])
    options = {"default_args": {"retry_policy": policy, "outlets": [theirs], "retries": 6}}
    shared = {argument: value for argument, value in LEAST[name].items() if argument != "bcda_conn_id"}
    alone = in_dag(lambda: cls(task_id="it", **LEAST[name]), **options)
    mapped = in_dag(lambda: cls.partial(task_id="it", **shared).expand(bcda_conn_id=[SECOND]), **options)
    for task in (alone, of_second(mapped)):
        assert (task.retry_policy, task.retries, task.outlets[0]) == (policy, 6, theirs)
    assert in_dag(lambda: cls(task_id="it", retry_policy=None, **LEAST[name])).retry_policy is None
    unset = in_dag(lambda: cls.partial(task_id="it", retry_policy=None, **shared).expand(bcda_conn_id=[SECOND]))
    assert of_second(unset).retry_policy is None


@pytest.fixture
def asks(serve, settings_for, connect, places, airflow_database):
    """Plan with arguments and params; return what the run asks BCDA for."""
    from bcda.runs.run import read_run
    from bcda_provider.operators import BcdaPlanOperator

    connect(serve())

    class Notes:
        def xcom_push(self, **_):
            pass

    def plan(params=None, **arguments):
        given = {"scope": "patient", "bcda_conn_id": "bcda_default", **arguments}
        context = {"ti": Notes(), **({"params": params} if params is not None else {})}
        return read_run(places.run_folder(BcdaPlanOperator(task_id="plan", **given).execute(context))).request

    return plan


def test_a_plan_asks_for_what_its_arguments_say_then_for_what_the_params_say(asks, monkeypatch):
    monkeypatch.setenv("BCDA_RESOURCE_TYPES", "Coverage")
    assert asks().resource_types == ("Coverage",)
    assert asks({"resource_types": ["Patient"]}).resource_types == ("Patient",)
    asked = asks({"resource_types": ["Patient"], "since": None}, resource_types="Patient, ExplanationOfBenefit")
    assert asked.resource_types == ("Patient", "ExplanationOfBenefit")
    assert asked.since is None
    assert asks({"since": "2026-11-02T00:00:00Z"}).since.day == 2
    assert asks({"since": "2026-11-02T00:00:00Z"}, since="2026-11-03 00:00:00+00:00").since.day == 3
    # Given, and empty.
    assert asks({"since": "2026-11-02T00:00:00Z"}, since="").since is None
    assert asks(interval="2026-11-04T00:00:00Z/2026-11-05T00:00:00Z").since.day == 4
    assert str(asks(scope="group-all", full="true").scope) == "group-all"
    filtered = asks(
        {"systems": ["DDPS"], "outcome": "complete"},
        resource_types="ExplanationOfBenefit",
        api_version="v3",
        systems="NationalClaimsHistory",
        service_from="2026-03-31",
    )
    assert str(filtered.api_version) == "v3"
    assert filtered.type_filter.to_json() == {
        "systems": ["NationalClaimsHistory"],
        "final_action": None,
        "outcome": "complete",
        "service_from": "2026-03-31",
        "service_through": None,
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"scope": "group"},
        {"resource_types": "Patients"},
        {"resource_types": []},
        {"since": "yesterday"},
        {"full": "maybe"},
        {"force": 1},
        {"interval": "2026-11-01"},
        {"systems": "NCH"},
        {"final_action": "Final"},
        {"outcome": "done"},
        {"service_from": "2026"},
        {"service_through": "2026-02-30"},
        {"api_version": "v9"},
        {"is_roster": "so"},
        {"without_patient": "so"},
        {"bcda_conn_id": ""},
        {"bcda_conn_id": None},
    ],
    ids=str,
)
def test_a_wrong_argument_is_one_sentence_and_nothing_is_sent(serve, connect, airflow_database, places, wrong):
    from bcda.errors import InvalidRequestError
    from bcda_provider.operators import BcdaPlanOperator

    server = serve()
    connect(server)
    given = {"scope": "patient", "bcda_conn_id": "bcda_default", **wrong}
    with pytest.raises(InvalidRequestError) as refused:
        BcdaPlanOperator(task_id="plan", **given).execute({})
    (argument,) = wrong
    assert argument.replace("api_version", "v9") in str(refused.value)
    assert server.requests == []
    assert not places.raw.exists()


def context_of(task):
    """Return what Airflow tells a task of a DAG of someone's own, whose configuration has a name that ours gave a meaning."""

    class Store(dict):
        def set(self, key, value):
            self[key] = value

    ti = SimpleNamespace(task=task, task_id="it", map_index=-1, try_number=1, max_tries=0)
    run = SimpleNamespace(clear_number=0, dag_id="theirs", conf={"conn_id": "a name of theirs"})
    return {"ti": ti, "dag_run": run, "task_state_store": Store(), "params": {}}


SPEAK = {
    "BcdaCheckListOperator": {},
    "BcdaFetchOperator": {},
    "BcdaJobSensor": {},
    "BcdaKickOffOperator": {},
    "BcdaMaintainOperator": {"step": "check_secret"},
    "BcdaPlanOperator": {},
}
"""Operators that look at the connection; the others work on files and databases of this machine alone."""


@pytest.mark.parametrize("name", sorted(SPEAK))
def test_a_connection_of_another_type_is_refused_alone_before_anything_is_sent(serve, connect, airflow_database, name):
    from bcda.errors import InvalidRequestError

    server = serve()
    connect(server, conn_type="http")
    task = operator_of(name)(task_id="it", **{**LEAST[name], **SPEAK[name]})
    with pytest.raises(InvalidRequestError, match=r"is of type http\. Nothing was sent\."):
        task.execute(context_of(task))
    assert server.requests == []


@pytest.mark.parametrize(
    "name", ["BcdaFetchOperator", "BcdaJobSensor", "BcdaKickOffOperator", "BcdaLandOperator", "BcdaMergeOperator"]
)
def test_the_result_of_a_plan_that_was_skipped_is_no_run(connect, serve, airflow_database, name):
    from bcda.errors import InvalidRequestError

    server = serve()
    connect(server)
    task = operator_of(name)(task_id="it", **{**LEAST[name], "run_id": None})
    with pytest.raises(InvalidRequestError, match=r"`run_id` must be a text.*may have been skipped"):
        task.execute(context_of(task))
    assert server.requests == []


def test_runout_does_not_wait_for_a_list_and_the_version_is_that_of_the_run(serve, connect, airflow_database):
    from bcda_provider.planned_runs import is_runout, settings_of_run

    connect(serve(), extra={"api_version": "v2"})
    runout = "20261110T060000Z-group-runout-v3-abcdef"
    assert is_runout(runout)
    assert not is_runout("20261110T060000Z-group-all-v3-abcdef")
    assert str(settings_of_run("bcda_default", runout).api_version) == "v3"
    assert str(settings_of_run("bcda_default", runout, "v1").api_version) == "v1"


def test_a_batch_that_the_export_has_no_file_for_is_done_at_once(
    serve, connect, settings_for, places, airflow_database
):
    """A DAG with a fixed number of batches meets exports with fewer files, and those without changes have none."""
    from bcda.api.manifest import Manifest
    from bcda_provider.operators import BcdaFetchOperator, BcdaLandOperator

    server = serve()
    connect(server)
    run = planned(settings_for(server), places)
    manifest = Manifest(job_id="1", transaction_time=START, request_url="", expires_in_seconds=60.0, files=())
    (places.run_folder(run.run_id) / "manifest.json").write_bytes(manifest.to_bytes())
    of_run = {"bcda_conn_id": "bcda_default", "run_id": run.run_id, "batch": 1, "batches": "2"}
    assert BcdaFetchOperator(task_id="fetch", **of_run).execute({}) == {"batch": 1, "files": 0, "bytes": 0}
    landed = BcdaLandOperator(task_id="land", **of_run).execute({})
    assert landed == {"batch": 1, "files": 0}
    assert not list(places.run_folder(run.run_id).glob("landed-*.json"))


def test_a_policy_of_somebody_else_is_asked_by_airflow_alone(airflow_database):
    from airflow.sdk import RetryPolicy

    from bcda.errors import ServerError
    from bcda_provider.failures import failure_text

    class Counts(RetryPolicy):
        asked = 0

        def evaluate(self, **_):
            Counts.asked += 1
            raise RuntimeError

    task = SimpleNamespace(retries=3, retry_policy=Counts(), bcda_conn_id="bcda_default")
    ti = SimpleNamespace(task=task, task_id="theirs", map_index=-1, try_number=1, max_tries=3)
    text = failure_text(ti, ServerError("No."), {"ti": ti})
    assert text == "theirs failed in try 1 of 4: ServerError: No. Next try after a pause."
    assert Counts.asked == 0


MAPPED = textwrap.dedent(
    """
    from airflow.sdk import DAG, task

    from bcda_provider.notifications import notify_loaded
    from bcda_provider.operators import *
    from bcda_provider.sensors import BcdaJobSensor

    ACOS = ["bcda_default", "bcda_second"]
    ONE = {"batches": 1}


    @task
    def acos():
        return ACOS


    def of_run(found):
        return {"run_id": found[0], "bcda_conn_id": found[1]}


    def of_job(found):
        return {"job_id": found[0], "run_id": found[1], "bcda_conn_id": found[2]}


    with DAG("everything_mapped", schedule=None):
        plan = BcdaPlanOperator.partial(task_id="plan", full="true").expand_kwargs(
            [{"bcda_conn_id": "bcda_default", "scope": "patient"}, {"bcda_conn_id": "bcda_second", "scope": "group-all"}]
        )
        names = acos()
        runs = plan.output.zip(names).map(of_run)
        kick_off = BcdaKickOffOperator.partial(task_id="kick_off").expand_kwargs(runs)
        jobs = kick_off.output.zip(plan.output, names).map(of_job)
        wait = BcdaJobSensor.partial(task_id="wait", **ONE).expand_kwargs(jobs)
        fetch = BcdaFetchOperator.partial(task_id="fetch", **ONE).expand_kwargs(runs)
        land = BcdaLandOperator.partial(task_id="land", **ONE).expand_kwargs(runs)
        merge = BcdaMergeOperator.partial(task_id="merge", **ONE).expand_kwargs(runs)
        publish = BcdaPublishOperator.partial(task_id="publish", plan_task_ids=["plan"]).expand(bcda_conn_id=ACOS)
        report = BcdaReportOperator.partial(
            task_id="report", plan_task_ids=["plan"], on_success_callback=notify_loaded
        ).expand(bcda_conn_id=ACOS)
        vacuum = BcdaMaintainOperator.partial(task_id="maintain", bcda_conn_id="bcda_default").expand(
            step=["purge_raw", "check_secret"]
        )
        check = BcdaCheckListOperator.partial(task_id="check").expand(bcda_conn_id=ACOS)
        plan >> kick_off >> wait >> fetch >> land >> merge >> publish >> report >> [vacuum, check]
    """
)
"""A DAG in which every operator is mapped by itself, without our params and task groups."""


READER = textwrap.dedent(
    """
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import DAG, Asset

    with DAG("reads_the_second_aco", schedule=[Asset(name="bcda_claim__bcda_second", uri="bcda://claim/bcda_second")]):
        EmptyOperator(task_id="read")
    """
)
"""A DAG that runs when claims of the second organization are in."""


@pytest.fixture
def theirs(run_dag, monkeypatch, tmp_path, serve, connect, places, ask):
    """Run DAGs of someone's own, each in a file of its own, against the BCDA of two organizations."""
    folder = tmp_path / "dags"
    folder.mkdir()
    bundle = {"name": "theirs", "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle"}
    monkeypatch.setenv(
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([{**bundle, "kwargs": {"path": str(folder)}}])
    )
    monkeypatch.setattr("airflow.settings.DAGS_FOLDER", str(folder))
    worlds = {
        "bcda_default": World(people=6, seed=3, history_weeks=20),
        SECOND: World(people=4, seed=9, history_weeks=8),
    }
    servers = {conn_id: serve(world, start=START) for conn_id, world in worlds.items()}
    for conn_id, server in servers.items():
        connect(server, conn_id=conn_id)

    class Theirs:
        def run(self, dag_id, text, **conf):
            (folder / "reader.py").write_text(READER)
            (folder / f"{dag_id}.py").write_text(text)
            return run_dag(dag_id, **conf)

        def check_what_was_published(self, reports):
            for conn_id, world in worlds.items():
                people = world.attribution_lists(servers[conn_id].entity.cms_id, "all", START)[-1].people
                expected = world.expected(START, people=people)
                of = places.of_source(conn_id)
                claims = dict(ask("SELECT claim_type, count(*) FROM claim GROUP BY ALL", of))
                assert claims == dict(expected.claims)
                assert expected.claims
                assert ask("SELECT count(*) FROM patient", of) == [(len(people),)]
                assert len(list(of.reports.glob("*.html"))) == reports

    return Theirs()


def events_of(dag_id):
    """Return the assets that the runs of a DAG updated, each with the number of events."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        found = select(AssetModel.uri).join(AssetEvent, AssetEvent.asset_id == AssetModel.id)
        return Counter(session.scalars(found.where(AssetEvent.source_dag_id == dag_id)))


def note_of(dag_id):
    """Return the note of the newest run of a DAG."""
    from airflow.models.dagrun import DagRun, DagRunNote
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        notes = select(DagRunNote.content).join(DagRun, DagRun.id == DagRunNote.dag_run_id)
        return session.scalars(notes.where(DagRun.dag_id == dag_id).order_by(DagRun.id.desc())).first()


@pytest.mark.complete
def test_every_operator_mapped_by_itself_loads_two_organizations(theirs, monkeypatch):
    import told

    told.messages.clear()
    monkeypatch.setenv("BCDA_NOTIFIERS", json.dumps([{"notifier": "told.Told"}]))
    state, tasks = theirs.run("everything_mapped", MAPPED)
    assert state == "success", tasks
    mapped = ["plan", "kick_off", "wait", "fetch", "land", "merge", "publish", "report", "maintain", "check"]
    assert set(tasks) == {"acos[-1]", *(f"{name}[{index}]" for name in mapped for index in (0, 1))}
    # The lists of both are loaded with everyone's history, so there is nothing to announce.
    assert [tasks[f"check[{index}]"] for index in (0, 1)] == ["skipped", "skipped"]
    theirs.check_what_was_published(reports=1)
    # Each map index tells of its own run, and a DAG that is scheduled on the asset of one organization hears of it.
    assert sorted(message.run_id.split("-")[1] for message in told.messages) == ["group", "patient"]
    updated = events_of("everything_mapped")
    # Airflow tells of the assets that it knows, which are more when DAGs of other tests were read before.
    assert updated["bcda://claim/bcda_second"] == 1
    assert set(updated.values()) == {1}


@pytest.mark.complete
def test_the_dags_of_the_documentation_run_as_printed(theirs, notes_at_once):
    whole, mapped = [block.text for block in blocks(PAGE)]
    state, tasks = theirs.run("mapped_exports", mapped, from_the_beginning=True)
    assert state == "success", tasks
    assert len(tasks) == 16
    updated = events_of("mapped_exports")
    # Airflow tells of the assets that it knows, which are more when DAGs of other tests were read before.
    assert updated["bcda://claim/bcda_second"] == 1
    assert set(updated.values()) == {1}
    assert note_of("mapped_exports").startswith("BCDA ")
    state, tasks = theirs.run("claims_of_our_acos", whole)
    assert state == "success", tasks
    theirs.check_what_was_published(reports=2)
