"""`_typeFilter` as a value: what would be refused, or accepted and dropped, never leaves the house."""

from datetime import date
from urllib.parse import unquote

import pytest

from bcda.api import protocol
from bcda.api.export_request import ExportRequest, Scope
from bcda.api.type_filter import ClaimOutcome, FinalAction, SystemType, TypeFilter
from bcda.errors import InvalidRequestError
from bcda.settings import ApiVersion
from bcda_simulator import typefilter as server

EOB = "ExplanationOfBenefit"


def wire(type_filter):
    """Return what the server reads after it has decoded the query."""
    request = ExportRequest(ApiVersion.V3, Scope.PATIENT, ("Patient", EOB), type_filter=type_filter)
    (value,) = [
        pair.partition("=")[2]
        for pair in protocol.kick_off_path(request).partition("?")[2].split("&")
        if "_typeFilter" in pair
    ]
    return unquote(value)


def test_every_filter_is_one_occurrence_that_the_server_takes():
    filters = [
        TypeFilter(),
        TypeFilter(systems=(SystemType.NCH,), final_action=FinalAction.FINAL),
        TypeFilter(outcome=ClaimOutcome.PARTIAL),
        TypeFilter(service_from=date(2026, 3, 1), service_through=date(2026, 3, 31)),
    ]
    for each in filters:
        assert server.refusal([wire(each)]) is None
        assert server.names_system_type([wire(each)])
        assert TypeFilter.from_json(each.to_json()) == each
    assert unquote(wire(filters[3])).endswith("&service-date=ge2026-03-01&service-date=le2026-03-31")


def test_the_default_names_all_systems_and_is_not_narrow():
    assert not TypeFilter().is_narrow
    assert not TypeFilter(systems=(SystemType.NCH, SystemType.DDPS)).is_narrow
    assert all(system.value in wire(TypeFilter()) for system in SystemType)
    for narrow in (
        TypeFilter(systems=(SystemType.NCH,)),
        TypeFilter(final_action=FinalAction.FINAL),
        TypeFilter(outcome=ClaimOutcome.COMPLETE),
        TypeFilter(service_from=date(2026, 1, 1)),
        TypeFilter(service_through=date(2026, 1, 1)),
    ):
        assert narrow.is_narrow


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"systems": ["Everywhere"]}, "malformed"),
        ({"systems": ["DDPS", "DDPS"]}, "each system once"),
        ({"systems": ["DDPS"], "final_action": "FinalAction"}, "would bring nothing"),
        ({"final_action": "Final"}, "malformed"),
        ({"outcome": "queued"}, "malformed"),
        ({"service_from": "2026"}, "is no day of service"),
        ({"service_from": "2026-01"}, "is no day of service"),
        ({"service_from": "2026-01-01T10:00:00Z"}, "drops times of day"),
        ({"service_from": "2026-02-01", "service_through": "2026-01-01"}, "wrong order"),
        ({"service-date": "2026-01-01"}, "no others"),
        ("ExplanationOfBenefit?_tag=x", "no others"),
    ],
)
def test_traps_are_refused_before_the_request(value, said):
    with pytest.raises(InvalidRequestError, match=said):
        TypeFilter.from_json(value)


@pytest.mark.parametrize("version", [ApiVersion.V1, ApiVersion.V2])
def test_a_version_that_ignores_filters_gets_none(version):
    with pytest.raises(InvalidRequestError, match="ignores type filters"):
        ExportRequest(version, Scope.PATIENT, (EOB,), type_filter=TypeFilter())


def test_without_claims_no_filter_is_sent():
    request = ExportRequest(ApiVersion.V3, Scope.PATIENT, ("Patient",), type_filter=TypeFilter())
    assert "_typeFilter" not in protocol.kick_off_path(request)
