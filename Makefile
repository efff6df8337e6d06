# Everything happens in a private environment, .venv: nothing else on the machine is touched.
#
#   make run        builds, then classifies real images and measures: `dwconv demo`
#   make test       builds, then runs the tests
#   make bench      builds, then measures beside every other library: the quick set, and a report of it
#   make lint       formatters, linters and type checker
#   make check-all  everything that .ci/run knows, for half an hour: emulators, sanitizers, fuzzers, coverage
#   make clean      removes the environment and everything that was built

PYTHON ?= python3
VENV ?= .venv
# What `make test` installs beside the package; .ci/run adds the oracles.
EXTRAS ?= test

BIN = $(VENV)/bin
CSRC = csrc/*.[ch] csrc/*/*.[ch] csrc/kernels/*/*.[ch]
SOURCES = pyproject.toml setup.py $(wildcard src/dwconv/*.px[di] src/dwconv/*.pyx $(CSRC))
C_FILES = $(wildcard $(CSRC) tests/c/*.[ch] tests/c/*/*.[ch] examples/c/*.[ch])
PIP = $(BIN)/python -m pip --disable-pip-version-check
# Where pip is configured to install for the user, it would refuse a private environment.
export PIP_USER = 0

define NO_VENV
Cannot create $(VENV). Debian and Ubuntu keep `python3 -m venv` in a package of its own:
    apt install python3-venv
Or make PYTHON=/path/to/another/python3 (3.10 or later).
endef
export NO_VENV

define NO_EXTENSION

The C extension was not built: dwconv computes with NumPy, many times slower.
`DWCONV_REQUIRE_EXTENSION=1 make` tells why. Debian and Ubuntu keep Python's headers in a package of their own:
    apt install python3-dev

endef
export NO_EXTENSION

.PHONY: run test bench lint check-all clean
.DELETE_ON_ERROR:

run: $(VENV)/installed
	$(BIN)/dwconv demo

test: $(VENV)/installed-$(EXTRAS)
	$(BIN)/python -m pytest -n 2 --dist loadfile

bench: $(VENV)/installed-bench
	$(BIN)/python -m bench run --quick --out results/quick.json
	$(BIN)/python -m bench report results/quick.json

# cython-lint looks for pycodestyle on the PATH.
lint: export PATH := $(abspath $(BIN)):$(PATH)
lint: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/cython-lint src
	$(BIN)/clang-format --dry-run -Werror $(C_FILES)

check-all:
	.ci/run --all

clean:
	rm -rf $(VENV) build dist src/*.egg-info src/dwconv/_core.c src/dwconv/*.so
	rm -rf .pytest_cache .hypothesis .mypy_cache .ruff_cache

# The package is installed in place: edited Python is live, edited C is rebuilt by the next make. Without the
# extension nothing is marked as done, so that the next make tries again.
define INSTALL
@echo "Building dwconv, about half a minute..."
$(PIP) install --quiet --editable "$(1)"
@$(BIN)/python -W ignore -c "import dwconv._core" 2>/dev/null && touch $@ $(VENV)/installed \
    || echo "$$NO_EXTENSION" >&2
endef

$(VENV)/installed: $(SOURCES) | $(BIN)/python
	$(call INSTALL,.)

$(VENV)/installed-%: $(SOURCES) | $(BIN)/python
	$(call INSTALL,.[$*])

$(BIN)/python:
	@$(PYTHON) -m venv $(VENV) || $(PYTHON) -m virtualenv --quiet $(VENV) \
	    || { $(PYTHON) -m venv --without-pip $(VENV) && $(PYTHON) -m pip --python $@ install --quiet pip; } \
	    || { rm -f $@; echo "$$NO_VENV" >&2; exit 1; }
