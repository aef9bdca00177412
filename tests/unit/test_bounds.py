"""How much text leaves for Airflow's database, logs, notes and messages: each bound at ten times its value."""

import pickle

import pytest

from bcda import bounds, errors
from bcda.bounds import LONGEST_MESSAGE, LONGEST_XCOM, shortened, within_xcom


def texts(value):
    if isinstance(value, dict):
        return [text for key, each in value.items() for text in [key, *texts(each)]]
    return [text for each in value for text in texts(each)] if isinstance(value, list) else [str(value)]


def test_a_text_is_cut_at_its_bound_and_says_so():
    for longest in [value for name, value in vars(bounds).items() if name.startswith("LONGEST_")]:
        assert shortened("x" * longest, longest) == "x" * longest
        cut = shortened("x" * 10 * longest, longest)
        assert (len(cut), cut[-1]) == (longest, "…")


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidRequestError("x" * 10 * LONGEST_MESSAGE),
        errors.ServerError("x" * 10 * LONGEST_MESSAGE, status=500),
        errors.ExportFailedError("x" * 10 * LONGEST_MESSAGE, job_id="7"),
        errors.CredentialsError("x" * 10 * LONGEST_MESSAGE, status=401),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_error_quotes_more_than_its_bound(error):
    assert len(str(error)) == LONGEST_MESSAGE


def test_an_error_is_otherwise_as_it_was_raised():
    error = errors.InvalidRequestError("No.")
    assert str(pickle.loads(pickle.dumps(error))) == "No."
    assert str(errors.BcdaError()) == ""


@pytest.mark.parametrize(
    "value",
    [
        "x" * 10 * LONGEST_XCOM,
        ["x" * 1000] * (LONGEST_XCOM // 100),
        list(range(10 * LONGEST_XCOM)),
        {str(number): "x" * 10 for number in range(LONGEST_XCOM)},
        {"x" * 10 * LONGEST_XCOM: 1},
        [[["x" * 10 * LONGEST_XCOM]] * 10] * 10,
    ],
    ids=["text", "texts", "numbers", "mapping", "key", "nested"],
)
def test_no_result_of_a_task_is_larger_than_its_bound(value):
    assert sum(map(len, texts(within_xcom(value)))) <= LONGEST_XCOM + 100


def test_a_result_of_ours_is_as_it_was():
    for value in (None, True, 7, 1.5, "a", [0, 1], {"reports": [{"run_id": "r1", "headline": "x"}]}, {"since": None}):
        assert within_xcom(value) == value
        assert type(within_xcom(value)) is type(value)
