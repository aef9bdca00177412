"""How the page writes what it is told."""

from bcda_provider.page import words


def test_names_are_code_and_markup_in_a_text_stays_text():
    said = words.sentence("Clear `kick_off`, then <b>`merge`</b> & look")
    assert said == "Clear <code>kick_off</code>, then &lt;b&gt;<code>merge</code>&lt;/b&gt; &amp; look"
    assert said.__html__() == said


def test_what_is_over_in_a_moment_takes_a_second():
    assert [words.duration(seconds) for seconds in (0.2, 1.4, 96, None)] == [
        "1 second",
        "1 second",
        "1 minute 36 seconds",
        "-",
    ]
