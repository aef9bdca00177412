"""The DAGs, one module each, as functions that take a connection and a schedule; a file in the DAG folder calls them.

Nothing is imported here: each task process reads one DAG file, and must not load what the other DAGs need.
"""
