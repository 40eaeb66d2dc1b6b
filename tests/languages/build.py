#!/usr/bin/env python3
"""`build.py FOLDER OUT`: runs the commands of FOLDER/plugin.toml and copies what they leave to OUT."""
import os
import pathlib
import shutil
import subprocess
import sys
import tomllib

folder, out = map(pathlib.Path, sys.argv[1:])
plugin = tomllib.loads((folder / "plugin.toml").read_text())
for command in plugin["build"]:
    print("$", *command, flush=True)
    subprocess.run(command, cwd=folder, env={**os.environ, **plugin.get("env", {})}, check=True)
shutil.copyfile(folder / plugin["output"], out)
