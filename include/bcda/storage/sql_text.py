"""Writing names and values into SQL where a parameter cannot stand: in definitions, comments and names of relations."""


def literal(text: str) -> str:
    """Return a text as an SQL literal, quotes included."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Return one name of a table or column, quoted so that whatever it holds stays a name."""
    return '"' + name.replace('"', '""') + '"'
