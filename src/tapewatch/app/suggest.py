"""Guessing what somebody meant to write."""

from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`, did you mean "threshold"?` for a word close to a known one, else nothing."""
    import difflib  # noqa: PLC0415  only needed when something is wrong; it costs start-up time

    close = difflib.get_close_matches(word, list(known), n=1)
    return f', did you mean "{close[0]}"?' if close else ""
