"""Every message of the library and the provider, by kind of error: found in the source, explained in messages.toml."""

import ast
import inspect
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from bcda import errors
from reference_pages.markdown import code, plain, table
from reference_pages.templates import Said, said

NOTES = tomllib.loads(Path(__file__).with_name("messages.toml").read_text(encoding="utf-8"))

_INTRO = """# Messages

This page lists every message of the project with its cause and the next step. To find a message, search for a few words of it. Values
are shown in braces, and alternatives in brackets.

Errors appear in the log of the failed task, in the output of `python -m bcda` (which then ends with exit code 1), or under the
connection's **Test Connection** icon. The kind of the error says whether the task is retried:

"""


def error_classes() -> dict[str, type[errors.BcdaError]]:
    """Return the error classes of the library by name, in the order of the tree."""
    return {
        name: found
        for name, found in vars(errors).items()
        if inspect.isclass(found) and issubclass(found, errors.BcdaError)
    }


def raised() -> list[Said]:
    """Return every message that the code passes to an error of the library."""
    return said(dict.fromkeys(error_classes(), 0))


def other() -> dict[str, list[Said]]:
    """Return the messages that are not errors of the library, by heading."""
    return {
        "Reasons for a skipped run": [s for s in said({"NotNeeded": 0, "_skip": 0}) if s.text],
        "Reasons for what a run asks for": [s for s in said({"Decision": 1}) if s.text],
        "Findings of doctor": [s for s in said({"Check": 2}, keep=_is_a_problem) if s.text],
        "Findings of maintenance": [s for s in said({"Finding": "text"}) if s.text],
        "Answers of the page": [s for s in said({"HTTPException": 1}) if s.text],
        "Warnings in logs": [s for s in said({"warning": 0, "error": 0}) if len(s.text.split()) > 3],  # noqa: PLR2004
        "Errors while DAGs are read": [s for s in said({"ValueError": 0}) if s.path.startswith("plugins/")],
    }


def _is_a_problem(call: ast.Call) -> bool:
    return len(call.args) > 1 and ast.unparse(call.args[1]) in {"Status.FAILED", "Status.WARNING"}


def page() -> str:
    """Return the page of all messages."""
    branches = {
        errors.ActionNeededError: "The task fails at once. A person must act.",
        errors.TransientError: "Airflow retries the task for more than an hour. The task fails after its last attempt.",
        errors.TerminalError: "The task fails at once. This run cannot succeed; start a new one.",
    }
    parts = [
        _INTRO
        + table(("kind", "what happens"), ((code(branch.__name__), effect) for branch, effect in branches.items()))
        + "\n\nCompleted work is kept in every case."
    ]
    messages = raised()
    for name, found in error_classes().items():
        if found is errors.BcdaError:
            continue
        branch = next(branch for branch in branches if issubclass(found, branch))
        mine = [message for message in messages if message.kind == name and message.text]
        parts.append("\n\n".join(_section(name, found, branches[branch], mine)))
    for heading, found_here in other().items():
        parts.append(f"## {heading}\n\n{NOTES['other'][heading].strip()}\n\n{_listed(found_here)}")
    return "\n\n".join(parts) + "\n"


def _section(name: str, found: type[errors.BcdaError], effect: str, messages: Sequence[Said]) -> Iterator[str]:
    notes = NOTES["classes"][name]
    yield f"## {name}"
    yield plain((inspect.getdoc(found) or "").partition("\n\n")[0])
    yield f"**What happens:** {effect}"
    yield f"**Cause:** {notes['cause'].strip()}"
    yield f"**What to do:** {notes['next'].strip()}"
    if messages:
        yield _listed(messages)


def _listed(messages: Sequence[Said]) -> str:
    lines = []
    for text in dict.fromkeys(message.text for message in messages):
        note = note_on(text)
        lines.append(f"- {code(text)}{f'<br>{note}' if note else ''}")
    return "\n".join(lines)


def note_on(text: str) -> str:
    """Return the note from messages.toml whose words are in a message; empty text if there is none."""
    return next((entry["note"] for entry in NOTES["message"] if entry["words"] in text), "")
