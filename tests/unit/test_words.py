"""How the page writes what it is told: names in backticks as code, and nothing that a text holds as markup."""

from bcda_provider.page import words


def test_names_are_code_and_markup_in_a_text_stays_text():
    said = words.sentence("Clear `kick_off`, then <b>`merge`</b> & look")
    assert said == "Clear <code>kick_off</code>, then &lt;b&gt;<code>merge</code>&lt;/b&gt; &amp; look"
    assert said.__html__() == said
