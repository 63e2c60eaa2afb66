"""Names that programs import from ``sglang_router.router``."""

from __future__ import annotations

from enum import Enum
from typing import Optional, Union

from .options import PolicyType


class BackendType(str, Enum):
    """Kinds of workers. Here the engine of each worker is detected."""

    Sglang = "sglang"
    Openai = "openai"


#: Where conversations are kept. Here they are not kept: ``memory`` and ``none`` mean the same.
HistoryBackendType = Enum(
    "HistoryBackendType",
    {"Memory": "memory", "None": "none", "Oracle": "oracle", "Postgres": "postgres", "Redis": "redis"},
    type=str,
)


def policy_from_str(policy_str: Optional[str]) -> Optional[PolicyType]:
    """Return the policy of that name; ``None`` for ``None``. Raises ``KeyError`` for an unknown one."""
    if policy_str is None:
        return None
    try:
        return PolicyType(policy_str)
    except ValueError:
        raise KeyError(policy_str) from None


def backend_from_str(backend_str: Union[str, BackendType, None]) -> BackendType:
    """Return the kind of that name; SGLang for ``None``. Raises ``ValueError`` for an unknown one."""
    if isinstance(backend_str, BackendType):
        return backend_str
    try:
        return BackendType((backend_str or "sglang").lower())
    except ValueError:
        raise ValueError(f"Unknown backend '{backend_str}': expected sglang or openai") from None


def history_backend_from_str(backend_str: Union[str, HistoryBackendType, None]) -> HistoryBackendType:
    """Return the place of that name; memory for ``None``. Raises ``ValueError`` for an unknown one."""
    if isinstance(backend_str, HistoryBackendType):
        return backend_str
    try:
        return HistoryBackendType((backend_str or "memory").lower())
    except ValueError:
        names = ", ".join(each.value for each in HistoryBackendType)
        raise ValueError(f"Unknown history backend '{backend_str}': expected one of {names}") from None
