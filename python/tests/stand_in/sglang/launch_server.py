"""An emulated server with the command line of SGLang's; what it was given goes to a file in STAND_IN_DIR."""

import json
import os
import pathlib
import sys

from sgl_router import command_line

rank = os.environ["SGLANG_DP_RANK"]
words = sys.argv[1:]
if "--crash" in words:
    sys.exit(3)
port = words[words.index("--port") + 1]
told = pathlib.Path(os.environ["STAND_IN_DIR"]) / f"{rank}.json"
told.write_text(json.dumps({"args": words, "pid": os.getpid()}), encoding="utf-8")
sys.exit(command_line.run(["emulate", "--fleet", "a100@20*1", "--port-base", port]))
