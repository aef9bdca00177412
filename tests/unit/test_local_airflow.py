"""The environment of an Airflow on one machine."""

import pytest

from airflow_processes import loopback_without_proxy


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "aco.example, .intra"}, "aco.example,.intra,127.0.0.1,localhost,::1"),
        ({"no_proxy": "small.example", "NO_PROXY": "large.example"}, "small.example,127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "localhost"}, "localhost,127.0.0.1,::1"),
        # Python understands the star only alone.
        ({"NO_PROXY": "*"}, "*"),
    ],
)
def test_the_parts_of_an_airflow_on_one_machine_ask_no_proxy_for_each_other(monkeypatch, given, expected):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert loopback_without_proxy() == {"no_proxy": expected, "NO_PROXY": expected}
