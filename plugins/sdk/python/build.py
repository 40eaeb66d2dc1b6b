#!/usr/bin/env python3
"""Builds a projection: ``python3 build.py SOURCE.py OUTPUT.wasm``.

Runs componentize-py, which loads the module once, so that tables are declared when the plugin is. The tool is that of this Python, else
one in the project's ``.venv``, into which it is installed where it is missing.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

VERSION = "0.25.1"
HERE = Path(__file__).resolve().parent


def tool() -> list[str]:
    probe = f"import importlib.metadata as m; assert m.version('componentize-py') == '{VERSION}'"
    own = Path(".venv") / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    for python in (sys.executable, str(own)):
        if Path(python).exists() and subprocess.run([python, "-c", probe], capture_output=True).returncode == 0:
            return [python, "-c", "import sys; from componentize_py import script; sys.exit(script())"]
    print(f"componentize-py {VERSION} is not installed: making .venv with it", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", ".venv"], check=True, stdout=sys.stderr)
    subprocess.run([str(own), "-m", "pip", "install", "--quiet", f"componentize-py=={VERSION}"], check=True, stdout=sys.stderr)
    return [str(own), "-c", "import sys; from componentize_py import script; sys.exit(script())"]


def main() -> int:
    if len(sys.argv) != 3:
        print("usage: python3 build.py SOURCE.py OUTPUT.wasm", file=sys.stderr)
        return 2
    source, output = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as entry:
        # The component's own module: the author's has no need to know of the contract's class.
        (Path(entry) / "laterna_entry.py").write_text(f"import {source.stem}\nfrom laterna._guest import WitWorld\n")
        paths = [argument for path in (entry, HERE, source.parent) for argument in ("-p", str(path))]
        command = [*tool(), "-q", "-d", str(HERE / "wit"), "-w", "projection", "componentize", "--stub-wasi", *paths, "laterna_entry", "-o", str(output)]
        # Where the tool itself is when the module fails helps nobody.
        return subprocess.run(command, env={**os.environ, "RUST_BACKTRACE": "0"}).returncode


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(map(str, error.cmd))}: exit code {error.returncode}")
