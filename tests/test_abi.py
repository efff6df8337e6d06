"""The binary interface of a version, the same in the header, in Cython's declarations and in the library."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import abi
import compiled_core
import dwconv

pytestmark = pytest.mark.skipif(not abi.HEADER.exists(), reason="this is not the source tree")
needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


@needs_cc
@pytest.mark.skipif(sys.maxsize < 2**32, reason="the files are those of 64-bit machines")
def test_sizes_offsets_values_and_signatures_are_those_of_this_version() -> None:
    version = ".".join(dwconv.__version__.split(".")[:2])
    kept = abi.ROOT / "tests" / "abi" / f"{version}.txt"
    remedy = (
        f"The ABI differs from that of {version}. It may only be added to; else the minor version and "
        f"with it the soname must change. Then: python tests/abi.py > tests/abi/{version}.txt"
    )
    assert kept.exists(), remedy
    assert abi.layout().splitlines() == kept.read_text(encoding="utf-8").splitlines(), remedy


def test_structs_that_grow_begin_with_their_size() -> None:
    for name, fields in abi.header().structs.items():
        assert (fields[0] == "size_t size") == name.endswith("desc"), name


@pytest.mark.parametrize("kind", abi.Declarations._fields)
def test_cython_declares_what_the_header_does(kind: str) -> None:
    assert getattr(abi.pxd(), kind) == getattr(abi.header(abi.QUANTIZED, abi.HEADER), kind)
    assert getattr(abi.pxd(abi.NETWORK_PXD), kind) == getattr(abi.header(abi.NETWORK), kind)
    assert getattr(abi.pxd(abi.GRADIENT_PXD), kind) == getattr(abi.header(abi.GRADIENT), kind)


@needs_cc
@pytest.mark.skipif(shutil.which("nm") is None, reason="there is no nm")
def test_the_library_exports_the_functions_of_the_headers_alone(tmp_path: Path) -> None:
    library = tmp_path / "libdwconv.so"
    options = ("-O1", "-fPIC", "-fvisibility=hidden", "-DDWCONV_SHARED", *compiled_core.BASELINE)
    objects = compiled_core.objects("cc", tmp_path, *options)
    command = ["cc", "-shared", *map(str, objects), "-lm", "-pthread", "-o", str(library)]
    subprocess.run(command, check=True)
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", str(library)], capture_output=True, text=True, check=True
    ).stdout
    callbacks = {"dwconv_task", "dwconv_parallel_for", "dwconv_node_done"}
    assert {line.split()[-1] for line in listed.splitlines()} == abi.header().functions.keys() - callbacks
