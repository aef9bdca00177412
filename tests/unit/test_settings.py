"""Addresses as they are compared: with the port of the scheme or without it, they are one server."""

import duckdb
import pytest

from bcda.errors import InvalidRequestError
from bcda.settings import ConnectionSettings, server_of
from bcda.warehouse.ledger import check_source


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("https://api.bcda.cms.gov:443", "https://api.bcda.cms.gov"),
        ("https://api.bcda.cms.gov:443/", "https://api.bcda.cms.gov"),
        ("https://api.bcda.cms.gov:8443", "https://api.bcda.cms.gov:8443"),
        ("https://api.bcda.cms.gov:80", "https://api.bcda.cms.gov:80"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_the_port_of_the_scheme_is_left_out(given, address):
    assert ConnectionSettings(given, "id", "secret").base_url == address


def test_a_warehouse_that_version_1_0_bound_to_an_address_with_its_port_is_of_the_same_server():
    connection = duckdb.connect()
    connection.execute("CREATE SCHEMA ops; CREATE TABLE ops.setting (name VARCHAR, value VARCHAR)")
    bound = [("source_id", "bcda_default"), ("server", "https://api.bcda.cms.gov:443")]
    connection.executemany("INSERT INTO ops.setting VALUES (?, ?)", bound)
    check_source(connection, source_id="bcda_default", server=server_of("https://api.bcda.cms.gov"))
    with pytest.raises(InvalidRequestError, match="Data of two sources is never mixed"):
        check_source(connection, source_id="bcda_default", server=server_of("https://sandbox.bcda.cms.gov"))


ENVIRONMENT = {"BCDA_ADDRESS": "sandbox", "BCDA_CLIENT_ID": "an-id", "BCDA_CLIENT_SECRET": "hush"}


def test_the_environment_names_server_credentials_version_and_tuning(tmp_path, monkeypatch):
    plain = ConnectionSettings.from_environment(ENVIRONMENT)
    assert plain == ConnectionSettings("https://sandbox.bcda.cms.gov", "an-id", "hush")
    assert "hush" not in repr(plain)
    (tmp_path / "secret").write_text("  from a file\n")
    more = {
        "BCDA_ADDRESS": "http://127.0.0.1:8080",
        "BCDA_CLIENT_SECRET": "",
        "BCDA_CLIENT_SECRET_FILE": str(tmp_path / "secret"),
        "BCDA_API_VERSION": "V3",
        "BCDA_ADVANCED": '{"poll_seconds": 1, "shared_system": false}',
    }
    found = ConnectionSettings.from_environment({**ENVIRONMENT, **more})
    assert (found.base_url, found.client_secret, found.api_version) == ("http://127.0.0.1:8080", "from a file", "v3")
    assert (found.tuning.poll_seconds, found.tuning.shared_system) == (1, False)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    assert ConnectionSettings.from_environment() == plain
    assert ConnectionSettings.from_environment({"BCDA_ADDRESS": "production"}, needs_credentials=False).client_id == ""
    assert (
        ConnectionSettings.from_environment({"BCDA_ADDRESS": "a.test", "BCDA_ADVANCED": '{"auth": "none"}'}).auth
        == "none"
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"BCDA_ADDRESS": ""}, "BCDA_ADDRESS is not set"),
        ({"BCDA_ADDRESS": "https://a.test/api"}, "scheme, host and port only"),
        ({"BCDA_CLIENT_ID": ""}, "BCDA_CLIENT_ID is not set"),
        ({"BCDA_CLIENT_SECRET": ""}, "BCDA_CLIENT_SECRET is not set"),
        ({"BCDA_CLIENT_SECRET_FILE": "/nowhere"}, "not both"),
        (
            {"BCDA_CLIENT_SECRET": "", "BCDA_CLIENT_SECRET_FILE": "/nowhere"},
            "cannot be read from /nowhere: No such file",
        ),
        ({"BCDA_CLIENT_SECRET": "", "BCDA_CLIENT_SECRET_FILE": "/dev/null"}, "is empty"),
        ({"BCDA_API_VERSION": "v4"}, "BCDA_API_VERSION must be one of v1, v2, v3. Got: v4"),
        ({"BCDA_ADVANCED": "[]"}, "BCDA_ADVANCED must be a JSON object"),
        ({"BCDA_ADVANCED": '{"poll": 1}'}, "unknown keys: poll"),
        (
            {"BCDA_ADVANCED": '{"poll_seconds": "5"}'},
            "BCDA_ADVANCED cannot be used. The connection's extra field poll_seconds",
        ),
        ({"BCDA_ADVANCED": '{"auth": "digest"}'}, "BCDA_ADVANCED must be one of basic, none"),
    ],
)
def test_a_variable_that_is_missing_or_wrong_is_named_and_the_secret_is_not(changes, said):
    with pytest.raises(InvalidRequestError) as refused:
        ConnectionSettings.from_environment({**ENVIRONMENT, **changes})
    assert said in str(refused.value)
    assert "hush" not in str(refused.value)
