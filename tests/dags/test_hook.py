"""What the hook makes of a server that is not well, before anything is asked for."""

import pytest

from bcda_simulator import Fault, FaultKind

ILL = '{"database":"error","ssas":"ok","ssas_introspect":"1S00E00AA00"}'


def answers(status, text="", body="text", **more):
    return Fault(FaultKind.ANSWER, more.pop("endpoint", "open"), status=status, text=text, body=body, **more)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (answers(502, ILL), r"not well \(database: error, ssas_introspect: \[MBI\]\)"),
        (answers(502, "{}"), "answers with 502"),
        (answers(502, body="html"), "a maintenance page answers"),
        (answers(503, body="html"), "answers with 503"),
        (answers(500, body="none"), "answers with 500"),
        (answers(404, "404 page not found"), "check the base URL"),
        (answers(404, "404 page not found", endpoint="metadata"), "and the API version"),
        (answers(429, body="none", retry_after="7"), "answers with 429"),
        (answers(200, body="html", endpoint="metadata"), "does not answer as BCDA v2 does"),
        (Fault(FaultKind.DROP, "open"), r"does not answer as BCDA v2 does \(ConnectionError\)"),
    ],
    ids=[
        "ill",
        "nothing said",
        "gateway",
        "busy",
        "broken",
        "another server",
        "another version",
        "429",
        "a page",
        "no answer",
    ],
)
def test_a_server_that_is_not_well_is_an_error_of_the_library(serve, settings_for, logged, fault, said):
    from bcda.errors import ServerError
    from bcda_provider.hooks import BcdaHook

    settings = settings_for(serve(faults=[fault]))
    with pytest.raises(ServerError, match=said) as caught:
        BcdaHook().check_open_endpoints(settings)
    assert caught.value.retry_after_seconds == (7 if fault.retry_after else None)
    assert ILL not in logged()


def test_a_server_that_is_well_names_its_fhir_version(serve, settings_for):
    from bcda_provider.hooks import BcdaHook

    assert BcdaHook().check_open_endpoints(settings_for(serve())) == "4.0.1"
