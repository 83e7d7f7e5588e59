# `just check` is what CI runs; `just` alone lists the recipes.

set shell := ["bash", "-euo", "pipefail", "-c"]

export PATH := justfile_directory() / ".venv/bin" + ":" + env("PATH")

# pyright does not look for a newer one
export PYRIGHT_PYTHON_IGNORE_WARNINGS := "1"

scripts := "mount-helpers/bootstrap .ci/run"

_default:
    @just --list --unsorted

# everything, each test once
[group("check")]
check: format lint types imports spelling shell test

# what needs no mounts and no daemons: seconds
[group("check")]
fast: format lint types imports spelling shell docs

[group("check")]
format:
    ruff format --check .

[group("check")]
lint:
    ruff check .

[group("check")]
types:
    mypy
    mypy mount-helpers/demo.py
    pyright

# the rooms and their directions
[group("check")]
imports:
    lint-imports --no-logo

[group("check")]
spelling:
    typos

[group("check")]
shell:
    shellcheck {{ scripts }}

# links, decision records, the wire reference against the code; the shape of the code
[group("check")]
docs:
    pytest -q tests/test_docs.py tests/test_architecture.py -m "not fuse"

# pytest with any arguments: `just test tests/flyfs/store -k bitmap`
[group("test")]
test *args:
    pytest -q {{ args }}

# a whole swarm in virtual time: `just simulate --peers 1000 --reading sequential --svg times.svg`
[group("test")]
simulate *args:
    python -m tests.simulation {{ args }}

# the tests under coverage, branches too, with what is missing
[group("test")]
coverage *args:
    coverage run -m pytest -q {{ args }}
    coverage report --show-missing --skip-covered

# power cuts, lost writes, killed daemons, by the hundred: ten minutes, as root
[group("test")]
torture *args:
    python -m tests.torture {{ args }}

# the main job on real input: origin, mounts, a second reader served by the first
[group("run")]
demo:
    mount-helpers/bootstrap demo

# figures beside the baselines, into build/bench/
[group("run")]
bench *args:
    python -m tests.bench {{ args }}

# format, and repair what can be repaired
[group("edit")]
fmt:
    ruff format .
    ruff check --fix .
    just --fmt
