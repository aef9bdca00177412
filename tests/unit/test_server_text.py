"""What of a text of the server a message shows, and where the rest is kept."""

import json
import logging
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcda.api import protocol
from bcda.privacy import server_text
from bcda.privacy.server_text import KEPT_FILES, SHOWN_CHARACTERS, KeptTexts

MBI = "1EG4TE5MK73"
SPELLINGS = {
    "plain": MBI,
    "beside letters": f"x{MBI}y",
    "beside digits": f"9{MBI}0",
    "lower case": MBI.lower(),
    "with dashes": "1EG4-TE5-MK73",
    "with blanks": "1 E G 4 T E 5 M K 7 3",
    "with other dashes": "1EG4\u2013TE5\u2013MK73",
    "with underscores": "1EG4_TE5_MK73",
    "percent-encoded": "".join(f"%{ord(letter):02X}" for letter in MBI),
    "percent-encoded dashes": "1EG4%2DTE5%2DMK73",
    "encoded twice": "1EG4%252DTE5%252DMK73",
    "wide letters": "".join(chr(ord(letter) + 0xFEE0) for letter in MBI),
}


@pytest.fixture(params=SPELLINGS.values(), ids=SPELLINGS.keys())
def spelling(request):
    return request.param


def outcome(text: str) -> bytes:
    return json.dumps({"resourceType": "OperationOutcome", "issue": [{"diagnostics": text}]}).encode()


def holds_it(text: object) -> bool:
    """Tell whether someone can read the identifier in a text."""
    read = server_text._decoded(str(text)).upper()
    return MBI in "".join(letter for letter in read if letter.isascii() and letter.isalnum())


def test_an_identifier_is_in_no_error(spelling):
    assert holds_it(spelling)
    for status in (400, 401, 403, 404, 408, 500, 503):
        for body in (
            outcome(f"cannot find {spelling}"),
            outcome(f"ACO (CMS_ID: {spelling}) is unauthorized"),
            spelling.encode(),
        ):
            error = protocol.error_for(status, body, what="Kick-off", retry_after=None, kept="server-text-001.txt")
            assert not holds_it(f"{error} {vars(error)}")


def test_an_identifier_is_in_no_status(spelling):
    def status(code: int, headers: dict[str, str], body: bytes = b"") -> object:
        return protocol.status_of(code, headers, body, base_url="https://api.bcda.cms.gov")

    assert not holds_it(status(202, {"x-progress": spelling}))
    assert not holds_it(status(202, {"x-progress": f"In Progress ({spelling}%)"}))
    for code in (404, 410, 500):
        assert not holds_it(status(code, {}, outcome(f"Job of {spelling} has been cancelled.")))


def test_an_identifier_is_in_no_open_answer(spelling):
    health = json.dumps({"database": f"no {spelling}", spelling: "ok", "ssas": 4}).encode()
    assert not holds_it(protocol.health_of(health))
    assert not holds_it(protocol.unwell(protocol.health_of(health)))
    assert not holds_it(protocol.version_of(json.dumps({"version": spelling}).encode()))


def test_an_identifier_is_in_nothing_that_is_shown_of_a_request(spelling):
    address = f"https://api.bcda.cms.gov/api/v2/Patient/$export?_type=Patient&_since={spelling}&patient={spelling}&{spelling}=1"
    listed = protocol.ListedJob("1", protocol.JobState.PENDING, address)
    assert not holds_it(listed.shown_request)
    assert not holds_it(server_text.path(f"/api/v2/{spelling}/$export"))
    assert not holds_it(server_text.media_type(f"text/{spelling}"))
    assert not holds_it(server_text.host(spelling, "api.bcda.cms.gov"))
    assert not holds_it(server_text.without_mbi(address))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Expired Token", "Expired Token"),
        ("ACO (CMS_ID: A1234) is unauthorized", "ACO (CMS_ID: A1234) is unauthorized"),
        ("unauthorized resource type Claim", "unauthorized resource type Claim"),
        ("Repeated resource type Jane", "[unknown text, 27 characters]"),
        (
            "invalid resource type Jane. Supported types [Patient]",
            "invalid resource type .... Supported types ...",
        ),
        ("Service encountered numerous errors for Jane", "Service encountered numerous errors..."),
        ("<html>Jane</html>", "[unknown HTML or XML, 17 characters]"),
        ('{"name": "Jane"}', "[unknown JSON, 16 characters]"),
        ("", ""),
        ("Expired\x1b[31m Token", "[unknown text, 18 characters]"),
    ],
)
def test_known_sentences_are_shown_and_others_measured(text, shown):
    assert server_text.shown(text) == shown
    assert server_text.is_known(text) == (text == shown)


def test_a_long_sentence_is_cut():
    text = (
        "Model entities in GUIDE are not eligible to access SharedSystem data. Requests using the following tags require access to "
        "SharedSystem data: [SharedSystem]"
    )
    assert server_text.shown(text) == text[:SHOWN_CHARACTERS]


def test_the_message_names_the_file_that_keeps_the_text():
    shown = server_text.shown("something of Jane", kept="server-text-001.txt")
    assert shown == "[unknown text, 17 characters; kept in server-text-001.txt in the run's raw folder]"


@given(st.text(max_size=300))
@settings(max_examples=300, deadline=None)
def test_nothing_of_an_unknown_text_is_shown(text):
    shown = server_text.shown(text)
    assert shown in {"", server_text.described(server_text.one_line(text))} or any(
        pattern.fullmatch(server_text.one_line(text)) for pattern, _ in server_text._PATTERNS
    )


class TestKeptTexts:
    def test_they_are_the_owners_alone(self, tmp_path):
        name = KeptTexts(tmp_path).keep(b"text of Jane")
        kept = tmp_path / name
        assert kept.read_bytes() == b"text of Jane"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600

    def test_the_same_answer_is_kept_once(self, tmp_path):
        texts = KeptTexts(tmp_path)
        assert [texts.keep(text) for text in (b"a", b"b", b"a")] == [
            "server-text-001.txt",
            "server-text-002.txt",
            "server-text-001.txt",
        ]

    def test_they_are_so_many_at_most(self, tmp_path):
        texts = KeptTexts(tmp_path)
        names = [texts.keep(str(number).encode()) for number in range(KEPT_FILES + 3)]
        assert names[-3:] == ["", "", ""]
        assert len(list(tmp_path.iterdir())) == KEPT_FILES

    def test_a_planted_link_is_not_followed(self, tmp_path):
        victim = tmp_path / "victim"
        victim.write_bytes(b"of someone else")
        folder = tmp_path / "run"
        folder.mkdir()
        (folder / "server-text-001.txt").symlink_to(victim)
        assert KeptTexts(folder).keep(b"of someone else") == "server-text-002.txt"
        assert victim.read_bytes() == b"of someone else"

    def test_without_the_folder_nothing_is_kept(self, tmp_path, caplog):
        with caplog.at_level(logging.DEBUG):
            assert KeptTexts(tmp_path / "none").keep(b"text of Jane") == ""
        assert "Jane" not in caplog.text
