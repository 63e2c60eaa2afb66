"""Options by the names of other packages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from typing import Any

from . import _native
from .caller import warn_caller
from .config import Config

#: Arguments of ``sglang_router`` with other names than the flags.
RENAMED = {
    "decode_urls": "decode",
    "enable_request_tracking": "enable_tracking",
    "eviction_interval": "eviction_interval_secs",
    "marginal_utility_output_dir": "record_dir",
    "prefill_urls": "prefill",
    "server_cert_path": "tls_cert_path",
    "server_key_path": "tls_key_path",
    "trace_ttl_seconds": "trace_ttl",
}


#: Options whose values ``sglang_router`` takes as a mapping of labels.
SELECTORS = ("selector", "prefill_selector", "decode_selector")


def options_of(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that these keyword arguments give.

    Raises ``TypeError`` for an unknown option, and ``ValueError`` for one that this router refuses.
    """
    known = {each.name for each in fields(Config)}
    options: dict[str, Any] = {}
    for keyword, value in keywords.items():
        name = RENAMED.get(keyword, keyword)
        if keyword == "fixed_probabilities":
            if value is not None:
                options["policy_options"] = {**options.get("policy_options", {}), "probabilities": value}
        elif name in SELECTORS:
            if value:
                options[name] = label_words(value)
        elif name not in known or str(value) in _renamed_values().get(name, ()):
            options.update(_foreign(name, value))
        else:
            options[name] = prefill_words(value) if keyword == "prefill_urls" else value
    return options


@lru_cache(maxsize=None)
def _renamed_values() -> dict[str, list[str]]:
    """Return the values of ``sglang_router`` that have another name here, by option."""
    return {flag["name"]: flag["renamed_values"] for flag in _native.sglang_router_flags()}


def prefill_words(workers: Any) -> Any:
    """Return ``[(url, port), ...]`` in the form of the flag."""
    if not isinstance(workers, (list, tuple)):
        return workers
    words: list[Any] = []
    for worker in workers:
        if isinstance(worker, (list, tuple)):
            words += ["none" if part is None else str(part) for part in worker]
        else:
            words.append(worker)
    return words


def label_words(labels: Any) -> Any:
    """Return ``{key: value, ...}`` in the form of the flag."""
    return [f"{key}={value}" for key, value in labels.items()] if isinstance(labels, Mapping) else labels


def flag_words(name: str, value: Any) -> list[str]:
    """Return the flag of an option with its value; empty where that is ``None``, ``False`` or an empty collection."""
    flag = "--" + name.replace("_", "-")
    if value is None or value is False:
        return []
    if value is True:
        return [flag]
    if isinstance(value, dict):
        value = [f"{key}={each}" for key, each in value.items()]
    if isinstance(value, (list, tuple)):
        return [flag, *(str(each) for each in value)] if value else []
    return [f"{flag}={value}"]


def _foreign(name: str, value: Any) -> dict[str, Any]:
    """Return the options that the flag of that name gives; the command line knows the flags of other routers."""
    words = flag_words(name, value)
    try:
        # A flag without its value is tried, too: whether the name is known does not depend on the value.
        given, notes = _native.options_from_flags(words or flag_words(name, True))
    except ValueError as error:
        if str(error).startswith("unexpected argument"):
            raise TypeError(f"unknown option `{name}`{_suggestion(name)}") from None
        if not words:
            return {}
        raise
    if not words:
        return {}
    warn_caller(notes)
    defaults = Config().given()
    return {key: each for key, each in given.items() if each != defaults[key]}


def _suggestion(name: str) -> str:
    import difflib

    names = [each.name for each in fields(Config)] + list(RENAMED)
    near = difflib.get_close_matches(name, names, n=1)
    return f", did you mean `{near[0]}`?" if near else ""
