#!/usr/bin/env bash
# The unit tests of the SDK and of its example, on plain Python.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
python3 -m unittest discover -s tests
export PYTHONPATH=$PWD
cd ../../../examples/order_summary/python
python3 -m unittest
