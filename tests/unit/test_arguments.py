"""What operators accept: native values and the texts that templates give, and nothing that could mean something else."""

from datetime import UTC, date, datetime, timedelta, timezone
from types import SimpleNamespace

import pytest

from bcda.api.export_request import Scope
from bcda.api.type_filter import ClaimOutcome, SystemType
from bcda.errors import InvalidRequestError
from bcda.runs.coverage import Interval
from bcda_provider import arguments
from bcda_provider.arguments import Asked

FIRST, SECOND = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 8, tzinfo=UTC)
KNOWN = ("Patient", "Coverage")


@pytest.mark.parametrize(
    ("read", "value", "meant"),
    [
        (arguments.flag, True, True),
        (arguments.flag, "True", True),
        (arguments.flag, " false ", False),
        (arguments.flag, None, False),
        (arguments.timestamp, FIRST, FIRST),
        (arguments.timestamp, datetime(2026, 10, 31, 20, tzinfo=timezone(timedelta(hours=-4))), FIRST),
        (arguments.timestamp, "2026-11-01T00:00:00Z", FIRST),
        (arguments.timestamp, "2026-11-01 00:00:00+00:00", FIRST),
        (arguments.timestamp, "2026-10-31T20:00:00-04:00", FIRST),
        (arguments.timestamp, "", None),
        (arguments.timestamp, "None", None),
        (arguments.timestamp, None, None),
        (arguments.day, "2026-03-31", date(2026, 3, 31)),
        (arguments.day, date(2026, 3, 31), date(2026, 3, 31)),
        (arguments.day, "", None),
        (arguments.names, ["Patient", "Coverage"], KNOWN),
        (arguments.names, ("Patient",), ("Patient",)),
        (arguments.names, "Patient, Coverage", KNOWN),
        (arguments.names, "['Patient', 'Coverage']", KNOWN),
        (arguments.names, '["Patient", "Coverage"]', KNOWN),
        (arguments.names, "", ()),
        (arguments.names, None, ()),
        (arguments.interval, [FIRST, "2026-11-08T00:00:00Z"], Interval(FIRST, SECOND)),
        (arguments.interval, "2026-11-01T00:00:00Z/2026-11-08T00:00:00Z", Interval(FIRST, SECOND)),
        (arguments.interval, "2026-11-01 00:00:00+00:00, 2026-11-08 00:00:00+00:00", Interval(FIRST, SECOND)),
        (arguments.interval, None, None),
    ],
)
def test_a_native_value_and_its_text_mean_the_same(read, value, meant):
    assert read("x", value) == meant


@pytest.mark.parametrize("value", [4, "4", " 4 "])
def test_a_number_may_be_a_text(value):
    assert arguments.number("batches", value, least=1, most=64) == 4


@pytest.mark.parametrize(
    ("read", "value", "wanted"),
    [
        (arguments.flag, "yes", "true or false"),
        (arguments.flag, "", "true or false"),
        (arguments.flag, 1, "true or false"),
        (arguments.flag, "None", "true or false"),
        (arguments.timestamp, "last week", "ISO 8601 timestamp"),
        (arguments.timestamp, "2026-11-01", "ISO 8601 timestamp"),
        (arguments.timestamp, "2026-11-01T00:00:00", "ISO 8601 timestamp"),
        (arguments.timestamp, datetime(2026, 11, 1), "ISO 8601 timestamp"),  # noqa: DTZ001 - it is what is refused
        (arguments.timestamp, 1_700_000_000, "ISO 8601 timestamp"),
        (arguments.day, "2026-3", "a day"),
        (arguments.day, FIRST, "a day"),
        (arguments.day, "2026-03-31T00:00:00Z", "a day"),
        (arguments.names, "[Patient]", "a list"),
        (arguments.names, "Patient,,Coverage", "a list of names"),
        (arguments.names, "Patient;Coverage", None),
        (arguments.names, [1], "a list of names"),
        (arguments.names, {"Patient": 1}, "a list"),
        (arguments.names, 5, "a list"),
        (arguments.interval, [SECOND, FIRST], "two timestamps"),
        (arguments.interval, "2026-11-01T00:00:00Z", "two timestamps"),
        (arguments.interval, [FIRST, None], "two timestamps"),
        (arguments.text, None, "not empty"),
        (arguments.text, "None", "not empty"),
    ],
)
def test_anything_else_is_refused_by_its_name_and_value(read, value, wanted):
    given = (KNOWN,) if wanted is None else ()
    with pytest.raises(InvalidRequestError) as refused:
        read("the_argument", value, *given)
    assert (wanted or "of Patient, Coverage") in str(refused.value)
    assert "`the_argument`" in str(refused.value)


@pytest.mark.parametrize("value", [0, 65, "0", "two", True, 2.0, "²", ""])
def test_a_number_out_of_range_or_of_another_kind_is_refused(value):
    with pytest.raises(InvalidRequestError, match="`batches` must be a whole number from 1 to 64"):
        arguments.number("batches", value, least=1, most=64)


def test_a_closed_set_is_read_as_it_is_written():
    assert arguments.member("scope", "group-all", Scope) is Scope.GROUP_ALL
    assert arguments.choice("outcome", "None", ClaimOutcome) is None
    with pytest.raises(InvalidRequestError, match=r"`scope` must be one of patient, .*\. Got: ''"):
        arguments.member("scope", "", Scope)
    with pytest.raises(InvalidRequestError, match=r"`outcome` must be one of .*\. Got: 'Complete'"):
        arguments.choice("outcome", "Complete", ClaimOutcome)
    with pytest.raises(InvalidRequestError, match=r"`systems` must be a list of names of NationalClaims.* Got: 'NCH'"):
        arguments.names("systems", "NCH", SystemType)


def test_a_long_value_is_cut_in_the_message():
    with pytest.raises(InvalidRequestError) as refused:
        arguments.flag("full", "x" * 1000)
    assert len(str(refused.value)) < 150


def test_the_argument_wins_over_the_param_and_the_param_over_the_default(monkeypatch):
    monkeypatch.delenv("BCDA_RESOURCE_TYPES", raising=False)

    def asked(params=None, **given):
        task = SimpleNamespace(**{"full": None, "batches": None, "resource_types": None, "api_version": None, **given})
        return Asked(task, {"params": params} if params is not None else {})

    assert asked({"full": False}, full=True).flag("full") is True
    assert asked({"full": True}).flag("full") is True
    assert asked({}).flag("full") is False
    assert asked(None).flag("full") is False
    assert asked({"batches": 4}).batches() == 4
    assert asked({"batches": 4}, batches="8").batches() == 8
    assert asked().batches() == arguments.DEFAULT_BATCHES
    assert arguments.types_of(asked({"resource_types": ["Patient"]})) == ("Patient",)
    assert arguments.types_of(asked({"resource_types": ["Patient"]}, resource_types="Coverage")) == ("Coverage",)
    assert arguments.types_of(asked()) == ("Patient", "Coverage", "ExplanationOfBenefit")
    # A text that a template left empty is given: the param does not count.
    assert asked({"api_version": "v3"}, api_version="").api_version() is None
    assert asked({"api_version": "v3"}).api_version() == "v3"
    with pytest.raises(InvalidRequestError, match="`resource_types` is empty"):
        arguments.types_of(asked({"resource_types": ["Patient"]}, resource_types=""))


def test_a_batch_is_below_the_number_of_batches():
    assert arguments.batch_of(SimpleNamespace(batch="1", batches="2"), {}) == (1, 2)
    with pytest.raises(InvalidRequestError, match=r"`batch` must be .* from 0 to 1\. Got: 2"):
        arguments.batch_of(SimpleNamespace(batch=2, batches=2), {})
