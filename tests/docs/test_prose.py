"""Spelling and phrases: `make lint` finds what this project does not write, and leaves names and values alone."""

import re
import subprocess
import sys

import pytest

import phrases

LISTED = phrases.phrases()


def test_no_text_has_a_listed_phrase():
    hits = [(path.name, *hit) for path in phrases.texts() for hit in phrases.found(path.read_text(), LISTED)]
    assert hits == []
    assert len(phrases.texts()) > 300


@pytest.mark.parametrize(
    "text",
    [
        "A line is set " + "aside.",
        "# A line is set\n    # " + "aside.",
        "-- Write it\n-- an" + "ew.",
        'f"{name} failed. Nothing "\n    f"was ' + 'changed."',
        "Some" + "body clears the task.",
    ],
)
def test_a_phrase_is_found_over_line_breaks_and_literals(text):
    assert len(list(phrases.found(text, LISTED))) == 1


@pytest.mark.parametrize(
    "text", ["maintenance/anew.py", "import bcda.maintenance.anew", "lines_set_aside", "an anew-file"]
)
def test_names_are_no_phrases(text):
    assert list(phrases.found(text, LISTED)) == []


def test_every_phrase_has_a_replacement_that_is_not_listed_itself():
    for phrase, better in LISTED.items():
        assert better
        assert list(phrases.found(better, LISTED)) == [], phrase


def spelling(text, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(text)
    command = [sys.executable, "-m", "codespell_lib", "--toml", phrases.PROJECT / "pyproject.toml", page]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    return re.findall(r"\d+: (\w+) ==>", done.stdout)


def test_british_spelling_is_found_and_values_of_bcda_are_not(tmp_path):
    wrong = {"behavi" + "our", "cancel" + "led", "en" + "rolment"}
    assert set(spelling(" ".join(wrong), tmp_path)) == wrong
    assert (
        spelling("`cancelled`, Cancelled, CancelledExpired, JobState.CANCELLED, Job has been cancelled.", tmp_path)
        == []
    )
