"""The names of the native module of ``sglang_router`` that programs use."""

from .router import BackendType, HistoryBackendType, PolicyType, Router

__all__ = ["BackendType", "HistoryBackendType", "PolicyType", "Router"]
