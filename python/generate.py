"""Write options.py and option_keywords.py in src/sgl_router from the options of the native module.

Run it in an environment that has the package: ``python generate.py``.
"""

from __future__ import annotations

import json
import pathlib
import textwrap
from typing import Any

from sgl_router import _native
from sgl_router.keywords import RENAMED

PACKAGE = pathlib.Path(__file__).parent / "src" / "sgl_router"

HEAD = '''\
"""The options of the router and the names of its policies. Written by generate.py; do not edit."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Optional, Union


class PolicyType(str, Enum):
    """The routing policies, by the names that routers for SGLang have given them."""

'''

MIDDLE = '''
    def __str__(self) -> str:
        """Return the name that the command line takes."""
        return self.value


@dataclass
class Options:
    """Every option of ``sgl-router launch``, under its name with underscores for dashes."""

'''


KEYWORDS = '''\
"""The types of the keywords of ``Router``. Written by generate.py; do not edit."""

from __future__ import annotations

import os
from typing import Any, Optional, TypedDict, Union

from .options import PolicyType


class OptionKeywords(TypedDict, total=False):
    """Every option of ``sgl-router launch``, and below them the other names of ``sglang_router``."""

'''

#: Options whose type has members of an enum, too.
POLICIES = {"policy": "Union[str, PolicyType]"}
POLICIES.update(dict.fromkeys(("prefill_policy", "decode_policy"), "Union[str, PolicyType, None]"))

#: Options whose labels are words or, as ``sglang_router`` has them, a mapping.
SELECTORS = dict.fromkeys(("selector", "prefill_selector", "decode_selector"), "Union[list[str], dict[str, str]]")


def comment(text: str) -> str:
    """Return ``text`` as a documentation comment of the next line."""
    mark = "    #: "
    return textwrap.fill(text, 110, break_on_hyphens=False, initial_indent=mark, subsequent_indent=mark)


def member(name: str) -> str:
    """Return the name of the enum member of a policy."""
    return "".join(part.capitalize() for part in name.split("_"))


def default(field: dict[str, Any]) -> str:
    """Return the default of a field; keys are left out of ``repr``."""
    hidden = ", repr=False" if field["secret"] else ""
    value = field["default"]
    if isinstance(value, (list, dict)):
        if not value:
            return f" = field(default_factory={type(value).__name__}{hidden})"
        items = "".join(f"            {json.dumps(each)},\n" for each in value)
        return f" = field(\n        default_factory=lambda: [\n{items}        ]{hidden}\n    )"
    text = json.dumps(value) if isinstance(value, str) else repr(value)
    return f" = field(default={text}{hidden})" if hidden else f" = {text}"


def generate_keywords() -> str:
    """Return the whole of option_keywords.py."""
    text = KEYWORDS
    ours = {each["name"]: each["kind"] for each in _native.option_fields()}
    for name, kind in ours.items():
        text += f"    {name}: {({**POLICIES, **SELECTORS}).get(name, kind)}\n"
    text += "\n"
    theirs = {flag["name"] for flag in _native.sglang_router_flags()} | {*RENAMED, "fixed_probabilities"}
    for name in sorted(theirs - {*ours}):
        text += f"    {name}: Any\n"
    return text


def generate_options() -> str:
    """Return the whole of options.py."""
    text = HEAD
    for name, rule in _native.policies():
        text += comment(rule) + f'\n    {member(name)} = "{name}"\n'
    text += MIDDLE
    heading = None
    for each in _native.option_fields():
        if each["heading"] != heading:
            heading = each["heading"]
            text += f"    # {heading}\n\n"
        text += comment(each["doc"]) + f"\n    {each['name']}: {each['kind']}{default(each)}\n\n"
    return text.rstrip("\n") + "\n"


#: What is generated, by the name of the file.
FILES = {"options.py": generate_options, "option_keywords.py": generate_keywords}

if __name__ == "__main__":
    for name, generate in FILES.items():
        (PACKAGE / name).write_text(generate(), encoding="utf-8")
