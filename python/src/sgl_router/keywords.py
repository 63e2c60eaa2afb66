"""Options by the names of other packages."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from . import _native
from .config import Config

#: Arguments of ``sglang_router.Router`` with other names than the flags.
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


def options_of(keywords: dict[str, Any]) -> dict[str, Any]:
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
        elif name in known:
            options[name] = _prefill(value) if keyword == "prefill_urls" else value
        else:
            options.update(_foreign(keyword, value))
    return options


def _prefill(workers: Any) -> Any:
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


def _foreign(name: str, value: Any) -> dict[str, Any]:
    """Return the options that the flag of that name gives; the command line knows the flags of other routers."""
    if value is None or value is False:
        values = None
    elif value is True:
        values = []
    elif isinstance(value, dict):
        values = [f"{key}={each}" for key, each in value.items()]
    elif isinstance(value, (list, tuple)):
        values = [str(each) for each in value]
    else:
        values = [str(value)]
    flag = "--" + name.replace("_", "-")
    try:
        given = _native.options_from_flags([flag, *(values or [])])
    except ValueError as error:
        if str(error).startswith("unexpected argument"):
            raise TypeError(f"unknown option `{name}`{_suggestion(name)}") from None
        if values is None:
            return {}
        raise
    defaults = Config().given()
    return {} if values is None else {key: each for key, each in given.items() if each != defaults[key]}


def _suggestion(name: str) -> str:
    import difflib

    names = [each.name for each in fields(Config)] + list(RENAMED)
    near = difflib.get_close_matches(name, names, n=1)
    return f", did you mean `{near[0]}`?" if near else ""
