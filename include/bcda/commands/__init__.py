"""Commands of `python -m bcda` that ask BCDA; those for a source's data are in `bcda.__main__`."""
