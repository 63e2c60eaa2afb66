from collections.abc import Sequence

__version__: str

def policies() -> list[tuple[str, str]]: ...
def run_command_line(args: Sequence[str]) -> int: ...

