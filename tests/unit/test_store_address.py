"""The address of an object store: what is read from it, what is refused, and that it never shows a secret."""

import pytest

from bcda.errors import InvalidRequestError
from bcda.storage.places import Places
from bcda.storage.store_address import StoreAddress


def test_an_address_with_everything():
    address = StoreAddress.from_text(
        "s3://claims/aco/bcda/?region=eu-west-1&endpoint_override=minio.example.org:9000&tls_ca_file_path=/etc/ca.pem"
        "&force_virtual_addressing=true&connect_timeout=3&request_timeout=90"
    )
    assert address == StoreAddress(
        "claims",
        "aco/bcda",
        region="eu-west-1",
        endpoint="minio.example.org:9000",
        ca_file="/etc/ca.pem",
        has_virtual_hosts=True,
        connect_timeout_seconds=3,
        request_timeout_seconds=90,
    )
    assert str(address) == "s3://claims/aco/bcda"
    assert address.path("lake/x") == "claims/aco/bcda/lake/x"
    assert str(StoreAddress.from_text("s3://claims")) == "s3://claims"


def test_sources_lie_in_the_bucket_as_they_lie_below_home(tmp_path):
    environment = {"BCDA_HOME": str(tmp_path), "BCDA_OBJECT_STORE": "s3://claims/bcda"}
    places = Places.from_environment(environment, default_home=tmp_path)
    assert str(places.store) == "s3://claims/bcda"
    other = places.of_source("bcda_other")
    assert str(other.store) == "s3://claims/bcda/sources/bcda_other"
    assert str(other.raw.relative_to(tmp_path).parent) == "sources/bcda_other"
    assert str(StoreAddress("claims").of_source("bcda_other")) == "s3://claims/sources/bcda_other"
    del environment["BCDA_OBJECT_STORE"]
    assert Places.from_environment(environment, default_home=tmp_path).of_source("bcda_other").store is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("s3://KEY:CANARY@claims/bcda", "has credentials in it"),
        ("s3://claims/bcda?access_key=KEY&secret_key=CANARY", "an unknown one"),
        ("s3://claims/bcda?CANARY=1", "an unknown one"),
        ("s3://claims/bcda?region=a&region=b", "an option twice"),
        ("/mnt/CANARY", "must be like s3://bucket/prefix"),
        ("file:///mnt/CANARY", "A shared folder needs no object store"),
        ("gs://claims", "must be like s3://bucket/prefix"),
        ("s3://Claims_/x", "must be like s3://bucket/prefix"),
        ("s3://claims/../x", "must be like s3://bucket/prefix"),
        ("s3://claims/a b", "must be like s3://bucket/prefix"),
        ("s3://claims/x#CANARY", "must be like s3://bucket/prefix"),
        ("s3://claims?endpoint_override=https://minio:9000", "must be a host"),
        ("s3://claims?endpoint_override=KEY:CANARY@minio", "must be a host"),
        ("s3://claims?scheme=ftp", "scheme must be https"),
        ("s3://claims?scheme=http", "in the clear"),
        ("s3://claims?scheme=http&endpoint_override=minio.example.org:9000", "in the clear"),
        ("s3://claims?connect_timeout=CANARY", "connect_timeout must be a number"),
        ("s3://claims?request_timeout=0", "request_timeout must be a number"),
    ],
)
def test_what_is_refused_says_why_and_repeats_nothing(text, says):
    with pytest.raises(InvalidRequestError, match=says) as caught:
        StoreAddress.from_text(text)
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["127.0.0.1:9000", "localhost", "[::1]:9000"])
def test_plain_http_to_this_machine_is_for_tests(endpoint):
    address = StoreAddress.from_text(f"s3://claims?scheme=http&endpoint_override={endpoint}")
    assert address.is_plain_http
    assert address.endpoint == endpoint
