"""``RouterArgs``: the arguments of a router by the names and defaults of ``sglang_router`` 0.3.2.

For programs that were written for that package: they declare its flags in their own parser, read them, set attributes, and
pass the object to ``launch_router``. What each argument becomes here is decided where flags are: see ``launch_flags``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Callable, Optional, Union, get_type_hints

from . import _native
from .keywords import RENAMED, flag_words, prefill_words
from .options import Options

#: Arguments that never have the prefix ``--router-``.
_UNPREFIXED = ("host", "port", "worker_urls")

#: Defaults of flags, where they differ from those of the attributes.
_FLAG_DEFAULTS: dict[str, Any] = {
    "decode": None,
    "log_level": "info",
    "prefill": None,
    "prometheus_host": "0.0.0.0",
    "prometheus_port": 29000,
}

#: Variables of the environment that are the default of a flag.
_VARIABLES = {
    "oracle_connect_descriptor": "ATP_DSN",
    "oracle_password": "ATP_PASSWORD",
    "oracle_pool_max": "ATP_POOL_MAX",
    "oracle_pool_min": "ATP_POOL_MIN",
    "oracle_pool_timeout_secs": "ATP_POOL_TIMEOUT_SECS",
    "oracle_tns_alias": "ATP_TNS_ALIAS",
    "oracle_username": "ATP_USER",
    "oracle_wallet_path": "ATP_WALLET_PATH",
    "postgres_db_url": "POSTGRES_DB_URL",
    "postgres_pool_max": "POSTGRES_POOL_MAX",
    "redis_pool_max": "REDIS_POOL_MAX",
    "redis_retention_days": "REDIS_RETENTION_DAYS",
    "redis_url": "REDIS_URL",
}

_CHOICES = {
    "assignment_mode": ["random", "min_load", "min_group"],
    "backend": ["sglang", "openai"],
    "history_backend": ["memory", "none", "oracle", "postgres", "redis"],
    "log_level": ["debug", "info", "warn", "warning", "error", "critical"],
}

#: Settings of a history backend: ``history_backend`` decides whether there is one.
_OF_HISTORY = ("oracle_", "postgres_", "redis_")

#: Arguments that count only with ``pd_disaggregation``.
_OF_DISAGGREGATION = ("prefill_urls", "decode_urls", "prefill_policy", "decode_policy")


@dataclass
class RouterArgs:
    """The arguments of a router by the names and defaults of ``sglang_router`` 0.3.2.

    >>> from sgl_router.launch_router import RouterArgs
    >>> args = RouterArgs(worker_urls=["http://127.0.0.1:31000"], policy="power_of_two", host="127.0.0.1")
    >>> args.launch_flags()[:3]
    ['--worker-urls', 'http://127.0.0.1:31000', '--host=127.0.0.1']

    The values are checked when the router is built. ``repr`` shows no key. docs/migrating.md says what each argument is
    here: most are the same, some change nothing, and some are refused.
    """

    # Workers
    worker_urls: list[str] = field(default_factory=list)
    host: str = "0.0.0.0"
    port: int = 30000

    # Prefill and decode
    mini_lb: bool = False
    pd_disaggregation: bool = False
    #: Prefill workers, each with the port of its bootstrap server or None.
    prefill_urls: list[tuple[str, Optional[int]]] = field(default_factory=list)
    decode_urls: list[str] = field(default_factory=list)

    # Routing
    policy: str = "cache_aware"
    prefill_policy: Optional[str] = None
    decode_policy: Optional[str] = None
    worker_startup_timeout_secs: int = 1800
    worker_startup_check_interval: int = 30
    cache_threshold: float = 0.3
    balance_abs_threshold: int = 64
    balance_rel_threshold: float = 1.5
    eviction_interval_secs: int = 60
    max_tree_size: int = 67_108_864
    max_idle_secs: int = 14_400
    assignment_mode: str = "random"
    max_payload_size: int = 536_870_912
    bucket_adjust_interval_secs: int = 5
    dp_aware: bool = False
    enable_igw: bool = False
    api_key: Optional[str] = field(default=None, repr=False)

    # Logging
    log_dir: Optional[str] = None
    log_level: Optional[str] = None

    # Service discovery
    service_discovery: bool = False
    selector: dict[str, str] = field(default_factory=dict)
    service_discovery_port: int = 80
    service_discovery_namespace: Optional[str] = None
    prefill_selector: dict[str, str] = field(default_factory=dict)
    decode_selector: dict[str, str] = field(default_factory=dict)
    bootstrap_port_annotation: str = "sglang.ai/bootstrap-port"

    # Metrics
    prometheus_port: Optional[int] = None
    prometheus_host: Optional[str] = None
    prometheus_duration_buckets: Optional[list[float]] = None

    # Requests
    request_id_headers: Optional[list[str]] = None
    request_timeout_secs: int = 1800
    shutdown_grace_period_secs: int = 180
    max_concurrent_requests: int = -1
    queue_size: int = 100
    queue_timeout_secs: int = 60
    rate_limit_tokens_per_second: Optional[int] = None
    cors_allowed_origins: list[str] = field(default_factory=list)

    # Retries
    retry_max_retries: int = 5
    retry_initial_backoff_ms: int = 50
    retry_max_backoff_ms: int = 30_000
    retry_backoff_multiplier: float = 1.5
    retry_jitter_factor: float = 0.2
    disable_retries: bool = False

    # Health checks
    health_failure_threshold: int = 3
    health_success_threshold: int = 2
    health_check_timeout_secs: int = 5
    health_check_interval_secs: int = 60
    health_check_endpoint: str = "/health"
    disable_health_check: bool = False

    # Circuit breakers
    cb_failure_threshold: int = 10
    cb_success_threshold: int = 3
    cb_timeout_duration_secs: int = 60
    cb_window_duration_secs: int = 120
    disable_circuit_breaker: bool = False

    # Tokenizers and parsers
    model_path: Optional[str] = None
    tokenizer_path: Optional[str] = None
    chat_template: Optional[str] = None
    tokenizer_cache_enable_l0: bool = False
    tokenizer_cache_l0_max_entries: int = 10_000
    tokenizer_cache_enable_l1: bool = False
    tokenizer_cache_l1_max_memory: int = 52_428_800
    reasoning_parser: Optional[str] = None
    tool_call_parser: Optional[str] = None
    mcp_config_path: Optional[str] = None

    # Engine and conversations
    backend: str = "sglang"
    history_backend: str = "memory"
    oracle_wallet_path: Optional[str] = None
    oracle_tns_alias: Optional[str] = None
    oracle_connect_descriptor: Optional[str] = None
    oracle_username: Optional[str] = None
    oracle_password: Optional[str] = field(default=None, repr=False)
    oracle_pool_min: int = 1
    oracle_pool_max: int = 16
    oracle_pool_timeout_secs: int = 30
    #: A URL may hold a password.
    postgres_db_url: Optional[str] = field(default=None, repr=False)
    postgres_pool_max: int = 16
    #: A URL may hold a password.
    redis_url: Optional[str] = field(default=None, repr=False)
    redis_pool_max: int = 16
    redis_retention_days: int = 30

    # TLS
    client_cert_path: Optional[str] = None
    client_key_path: Optional[str] = None
    ca_cert_paths: list[str] = field(default_factory=list)
    server_cert_path: Optional[str] = None
    server_key_path: Optional[str] = None

    # Traces
    enable_trace: bool = False
    otlp_traces_endpoint: str = "localhost:4317"

    # Administration
    #: Keys, each with its id, name, key and role.
    control_plane_api_keys: list[tuple[str, str, str, str]] = field(default_factory=list, repr=False)
    control_plane_audit_enabled: bool = False
    jwt_issuer: Optional[str] = None
    jwt_audience: Optional[str] = None
    jwt_jwks_uri: Optional[str] = None
    jwt_role_mapping: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def add_cli_args(
        parser: argparse.ArgumentParser, use_router_prefix: bool = False, exclude_host_port: bool = False
    ) -> None:
        """Declare the flags of ``sglang_router`` in a parser.

        With ``use_router_prefix`` they begin with ``--router-``, except ``--host``, ``--port`` and ``--worker-urls``.
        ``exclude_host_port`` leaves the first two out.
        """
        flags = {flag["name"]: flag for flag in _native.sglang_router_flags()}
        options = {option["name"]: option for option in _native.option_fields()}
        hints = get_type_hints(RouterArgs)
        groups: dict[str, Any] = {}
        for each in fields(RouterArgs):
            name = RENAMED.get(each.name, each.name)
            if name not in flags or exclude_host_port and name in ("host", "port"):
                continue
            option = options.get(name)
            heading = "Other flags of sglang_router" if option is None else option["heading"]
            if heading not in groups:
                groups[heading] = parser.add_argument_group(heading)
            prefix = "router-" if use_router_prefix and name not in _UNPREFIXED else ""
            groups[heading].add_argument(
                f"--{prefix}{name.replace('_', '-')}",
                help=(flags[name]["note"] if option is None else option["doc"]).replace("%", "%%"),
                **_shape(name, hints[each.name], _default(each, name), flags[name]["values"]),
            )

    @classmethod
    def from_cli_args(cls, args: argparse.Namespace, use_router_prefix: bool = False) -> RouterArgs:
        """Return the arguments that a parser with the flags of ``add_cli_args`` has read.

        With ``use_router_prefix`` an attribute without the prefix counts where there is none with it. Other attributes
        are ignored. Raises ``ValueError`` for a malformed port, key or role.
        """
        given = vars(args)
        prefix = "router_" if use_router_prefix else ""
        values: dict[str, Any] = {}
        for each in fields(cls):
            names = (prefix + RENAMED.get(each.name, each.name), prefix + each.name, each.name)
            found = next((name for name in names if name in given), None)
            if found is not None:
                read = _READERS.get(each.name)
                values[each.name] = given[found] if read is None else read(given[found])
        return cls(**values)

    def launch_flags(self) -> list[str]:
        """Return the flags of ``sgl-router launch`` that these arguments stand for.

        What ``sglang_router`` has no use for in a mode is left out, and so are defaults that this router has as well or
        has no option for. Without workers the router starts empty, as ``sglang_router`` does.
        """
        ours, defaults = Options(), RouterArgs()
        unused = (*(("worker_urls",) if self.pd_disaggregation else _OF_DISAGGREGATION), *self._unused_selectors())
        words: list[str] = []
        for each in fields(RouterArgs):
            name, value = RENAMED.get(each.name, each.name), getattr(self, each.name)
            if each.name in (*unused, "bootstrap_port_annotation") or each.name.startswith(_OF_HISTORY):
                continue
            # No default of ours: the policies have it, and it is the same.
            if getattr(ours, name, None) is not None or value != getattr(defaults, each.name):
                words += _WORDS.get(name, flag_words)(name, value)
        if not (self.prefill_urls and self.decode_urls if self.pd_disaggregation else self.worker_urls):
            words.append("--start-empty")
        return words

    def _unused_selectors(self) -> tuple[str, ...]:
        """Return the selectors that select nothing in this mode."""
        legs = ("prefill_selector", "decode_selector")
        if not self.service_discovery:
            return ("selector", *legs)
        return ("selector",) if self.pd_disaggregation else legs

    def _validate_router_args(self) -> None:
        """Check the values; programs call it, though it is no public name there either."""
        given, _ = _native.options_from_flags(self.launch_flags())
        _native.check_router(given)

    @staticmethod
    def _parse_selector(labels: Union[Mapping[str, str], Sequence[str], None]) -> dict[str, str]:
        """Return labels given as ``KEY=VALUE`` words, or as one text of such words; others are left out."""
        if isinstance(labels, Mapping):
            return dict(labels)
        words = [word for text in labels or () for word in text.split(" ")]
        return dict(word.split("=", 1) for word in words if "=" in word)

    @staticmethod
    def _parse_prefill_urls(workers: Optional[Iterable[Sequence[Any]]]) -> list[tuple[str, Optional[int]]]:
        """Return prefill workers, each given as a URL and, maybe, a port or ``none``."""
        found: list[tuple[str, Optional[int]]] = []
        for url, *more in workers or ():
            port = more[0] if more else None
            if isinstance(port, str):
                try:
                    port = None if port.lower() == "none" else int(port)
                except ValueError:
                    raise ValueError(f"Invalid bootstrap port '{port}' of {url}: expected a number or none") from None
            found.append((url, port))
        return found

    @staticmethod
    def _parse_decode_urls(workers: Optional[Iterable[Union[str, Sequence[str]]]]) -> list[str]:
        """Return decode workers, each given as a URL or a list of one."""
        return [worker if isinstance(worker, str) else worker[0] for worker in workers or ()]

    @staticmethod
    def _parse_control_plane_api_keys(entries: Optional[Iterable[Any]]) -> list[tuple[str, str, str, str]]:
        """Return keys given as ``ID:NAME:ROLE:KEY``, whose key may contain colons. Messages never contain a key."""
        found: list[tuple[str, str, str, str]] = []
        for position, entry in enumerate(entries or (), 1):
            if not isinstance(entry, str):
                found.append(tuple(entry))
                continue
            parts = entry.split(":", 3)
            if len(parts) != 4:
                raise ValueError(f"Invalid API key format: entry {position} is not ID:NAME:ROLE:KEY")
            found.append((parts[0], parts[1], parts[3], _role("Invalid role", parts[2])))
        return found

    @staticmethod
    def _parse_jwt_role_mapping(entries: Union[Mapping[str, str], Iterable[str], None]) -> dict[str, str]:
        """Return roles of an identity provider given as ``ROLE=admin`` or ``ROLE=user``."""
        if isinstance(entries, Mapping):
            return dict(entries)
        found: dict[str, str] = {}
        for entry in entries or ():
            name, equals, role = entry.partition("=")
            if not equals:
                raise ValueError(f"Invalid role mapping format: '{entry}' is not ROLE=admin or ROLE=user")
            found[name] = _role("Invalid gateway role", role)
        return found


#: How the values of a flag are read into an attribute.
_READERS: dict[str, Callable[[Any], Any]] = {
    "control_plane_api_keys": RouterArgs._parse_control_plane_api_keys,
    "decode_selector": RouterArgs._parse_selector,
    "decode_urls": RouterArgs._parse_decode_urls,
    "jwt_role_mapping": RouterArgs._parse_jwt_role_mapping,
    "prefill_selector": RouterArgs._parse_selector,
    "prefill_urls": RouterArgs._parse_prefill_urls,
    "selector": RouterArgs._parse_selector,
}


def _role(problem: str, text: str) -> str:
    if text.lower() not in ("admin", "user"):
        raise ValueError(f"{problem} '{text}': expected admin or user")
    return text.lower()


def _default(attribute: Any, name: str) -> Any:
    """Return the default of the flag of an attribute."""
    if name in _FLAG_DEFAULTS:
        return _FLAG_DEFAULTS[name]
    default = getattr(RouterArgs(), attribute.name)
    # argparse reads a text as if it had been given.
    return os.environ.get(_VARIABLES[name], default) if name in _VARIABLES else default


def _shape(name: str, hint: Any, default: Any, values: str) -> dict[str, Any]:
    """Return how argparse reads a flag: its type, the number of its values, and its default."""
    if values == "zero":
        return {"action": "store_true", "default": default}
    shape: dict[str, Any] = {"default": default, "type": str, "metavar": "VALUE"}
    for kind in (int, float):
        if hint in (kind, Optional[kind], Optional[list[kind]]):  # type: ignore[valid-type]
            shape.update(type=kind, metavar="N")
    if name in ("prefill", "decode"):
        shape.update(action="append", nargs="+" if name == "prefill" else 1, metavar=None)
    elif values == "many":
        shape["nargs"] = "*"
    if name == "policy" or name.endswith("_policy"):
        shape.update(choices=[policy for policy, _ in _native.policies()], metavar="NAME")
    elif name in _CHOICES:
        shape.update(choices=_CHOICES[name], metavar=None)
    return shape


def _repeated_words(name: str, workers: Iterable[Any]) -> list[str]:
    """Return a flag that is given once for each worker."""
    return [word for worker in workers for word in flag_words(name, prefill_words([worker]))]


def _key_words(name: str, keys: Iterable[tuple[str, str, str, str]]) -> list[str]:
    """Return the flag of keys that are given as id, name, key and role."""
    return flag_words(name, [":".join((key_id, label, role, key)) for key_id, label, key, role in keys])


#: The words of flags whose values are not as those of others.
_WORDS: dict[str, Callable[[str, Any], list[str]]] = {
    "control_plane_api_keys": _key_words,
    "decode": _repeated_words,
    "prefill": _repeated_words,
}
