"""A network as C for libdwconv: `Network.to_c`. Three files, static memory, no parser, no allocation.

NAME.h           sizes, NAME_init, NAME_run; of a network with state also NAME_reset
NAME.c           the descriptors of dwconv_network.h
NAME_weights.c   constants, as the bits of floats and as integers
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from .ccode_descriptors import Descriptors
from .config import core, version
from .emit import emit
from .graph import Graph
from .passes import run_passes
from .program import Program, Tensor

# Of C and C++, and of the file itself.
TAKEN = """
    auto break case char const continue default do double else enum extern float for goto if inline int
    long register restrict return short signed sizeof static struct switch typedef union unsigned void
    volatile while and bool catch class delete explicit export false friend mutable namespace new not
    operator or private protected public template this throw true try typename using virtual xor desc
    inputs memory network nodes outputs state values workspace
"""
TYPES = {"float32": "float", "int8": "int8_t", "uint8": "uint8_t", "int32": "int32_t"}


def export(name: str, graph: Graph, directory: Path, function: str | None) -> list[Path]:
    """Writes the files of a graph, for its shapes. `function`: NAME; None: made of `name`.

    Raises ValueError where NAME is none in C, or the compiled core is missing, which tells the sizes;
    UnsupportedModel; OSError.
    """
    if function is not None and (
        identifier(function, set()) != function.lower() or not function.isidentifier()
    ):
        raise ValueError(f"{name}: to_c: name must be an identifier of C, not {function!r}")
    if core is None:
        raise ValueError(f"{name}: to_c needs the compiled core, which is not there: see dwconv.config()")
    program = emit(run_passes(graph), name, keeps=True)
    sizes = {}
    for isa in core.isas_available():
        made = core.Network(program, isa, 1)
        sizes[isa] = (made.nbytes, made.workspace_bytes)
        state = made.state_bytes
    return write(directory, function or identifier(name, set()), program, sizes, state, version())


def write(
    directory: Path, name: str, program: Program, sizes: Mapping[str, tuple[int, int]], state: int,
    made_by: str,
) -> list[Path]:  # fmt: skip
    """`sizes`: bytes of the network and of its workspace, by instruction set; `state`: of a stream."""
    directory.mkdir(parents=True, exist_ok=True)
    told = Descriptors(name, program)
    files = {
        f"{name}.h": _header(name, program, sizes, state, made_by),
        f"{name}.c": _source(name, program, told, state, made_by),
        f"{name}_weights.c": _weights(name, told),
    }
    paths = []
    for file, text in files.items():
        paths.append(directory / file)
        paths[-1].write_text(text, encoding="utf-8")
    return paths


def identifier(word: str, taken: set[str]) -> str:
    """A name in C that is not taken yet, and now is."""
    name = re.sub(r"\W+", "_", word, flags=re.ASCII).strip("_").lower() or "value"
    name = f"x_{name}" if name[0].isdigit() else name
    name = f"{name}_" if name in TAKEN.split() else name
    while name in taken:
        name += "_"
    taken.add(name)
    return name


# ---- the header ---------------------------------------------------------------------------------


def _parameters(program: Program) -> list[tuple[str, str, Tensor]]:
    """("const float *" or "float *", say, name, tensor) of inputs, then of outputs."""
    taken: set[str] = set()
    found = []
    for storage, qualifier in (("input", "const "), ("output", "")):
        for tensor in program.tensors:
            if tensor.storage == storage:
                kind = f"{qualifier}{TYPES[tensor.dtype.name]} *"
                found.append((kind, identifier(tensor.name, taken), tensor))
    return found


def _signature(name: str, program: Program) -> str:
    return f"dwconv_status {name}_run({', '.join(f'{kind}{word}' for kind, word, _ in _parameters(program))})"


def _header(
    name: str, program: Program, sizes: Mapping[str, tuple[int, int]], state: int, made_by: str
) -> str:
    upper = name.upper()
    network, workspace = (max(64, *(size[which] for size in sizes.values())) for which in (0, 1))
    lines = [
        f"/* {name}: a network for libdwconv {made_by}. Written by dwconv; not to be edited.",
        " *",
        f" *     status = {name}_init();   once: packs the weights for this machine",
        *(
            [f" *     status = {name}_reset();  before the first run of a stream, which init does too"]
            if state
            else []
        ),
        f" *     status = {name}_run(...);  as often as you like",
        " *",
        " * All memory is static, one workspace included: one thread at a time runs it. Threads with",
        f" * workspaces of their own call dwconv_network_run on {name}_network().",
        " *",
        *(f" *     {kind}{word}: {_shape_text(t)}" for kind, word, t in _parameters(program)),
        *(_integers_text(program)),
        " */",
        f"#ifndef {upper}_H",
        f"#define {upper}_H",
        "",
        '#include "dwconv_network.h"',
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
        "/* Bytes, the most that these instruction sets need; init gives DWCONV_TOO_SMALL for one that needs",
        " * more. " + "; ".join(f"{isa}: {a} and {b}" for isa, (a, b) in sizes.items()) + ". */",
        f"#ifndef {upper}_NETWORK_BYTES",
        f"#define {upper}_NETWORK_BYTES {network}",
        "#endif",
        f"#ifndef {upper}_WORKSPACE_BYTES",
        f"#define {upper}_WORKSPACE_BYTES {workspace}",
        "#endif",
        *([f"#define {upper}_STATE_BYTES {state} /* of one stream */"] if state else []),
        "",
        "/* Elements of inputs and outputs. */",
        *(
            f"#define {upper}_{word.upper()}_ELEMENTS {math.prod(t.shape)}"
            for _, word, t in _parameters(program)
        ),
        "",
        f"dwconv_status {name}_init(void);",
        *([f"dwconv_status {name}_reset(void);"] if state else []),
        "/* DWCONV_NULL_POINTER before init; what dwconv_network_run tells. */",
        f"{_signature(name, program)};",
        f"const dwconv_network *{name}_network(void); /* NULL before init */",
        "",
        "#ifdef __cplusplus",
        "}",
        "#endif",
        "",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def _shape_text(tensor: Tensor) -> str:
    return f"[{', '.join(map(str, tensor.shape))}]"


def _integers_text(program: Program) -> Iterator[str]:
    """What integers of inputs and outputs stand for."""
    for _, word, tensor in _parameters(program):
        if tensor.quantization is not None:
            scale, zero = tensor.quantization.scale, tensor.quantization.zero_point
            yield f" * {word} stands for {np.float32(scale)} * (q {'+' if zero < 0 else '-'} {abs(zero)})"


# ---- the source ---------------------------------------------------------------------------------


def _source(name: str, program: Program, told: Descriptors, state: int, made_by: str) -> str:
    lines = [
        f"/* Written by dwconv {made_by}; not to be edited. */",
        f'#include "{name}.h"',
        "",
        "#include <math.h>",
        "",
        *_weights_type(name, told),
        "",
        *told.before,
        "static const dwconv_value values[] = {",
        *told.values,
        "};",
        "",
        "static const dwconv_node nodes[] = {",
        *told.nodes,
        "};",
        "",
        "static const dwconv_network_desc desc = {",
        "    .size = sizeof(dwconv_network_desc),",
        "    .value_size = sizeof(dwconv_value),",
        "    .node_size = sizeof(dwconv_node),",
        f"    .value_count = {len(told.values)},",
        f"    .node_count = {len(told.nodes)},",
        "    .values = values,",
        "    .nodes = nodes,",
        f"    .quant_rounding = DWCONV_ROUND_{program.rounding.upper()},",
        "};",
        "",
        *_functions(name, program, state),
    ]
    return "\n".join(lines)


def _functions(name: str, program: Program, state: int) -> Iterator[str]:
    upper = name.upper()
    inputs = [word for kind, word, _ in _parameters(program) if kind.startswith("const ")] or ["NULL"]
    outputs = [word for kind, word, _ in _parameters(program) if not kind.startswith("const ")]
    yield f"static _Alignas(DWCONV_ALIGNMENT) unsigned char memory[{upper}_NETWORK_BYTES];"
    yield f"static _Alignas(DWCONV_ALIGNMENT) unsigned char workspace[{upper}_WORKSPACE_BYTES];"
    if state:
        yield f"static _Alignas(DWCONV_ALIGNMENT) unsigned char state[{upper}_STATE_BYTES];"
    yield "static dwconv_network *network;"
    yield ""
    yield f"dwconv_status {name}_init(void) {{"
    yield "    int bad_node;"
    made = "dwconv_network_create_in(&desc, memory, sizeof memory, &network, &bad_node);"
    if state:
        yield f"    const dwconv_status status = {made}"
        yield f"    return status == DWCONV_OK ? {name}_reset() : status;"
    else:
        yield f"    return {made}"
    yield "}"
    yield ""
    if state:
        yield f"dwconv_status {name}_reset(void) {{"
        yield "    return dwconv_network_reset(network, state, sizeof state);"
        yield "}"
        yield ""
    yield f"{_signature(name, program)} {{"
    yield f"    const void *const inputs[] = {{{', '.join(inputs)}}};"
    yield f"    void *const outputs[] = {{{', '.join(outputs)}}};"
    kept = "state, sizeof state" if state else "NULL, 0"
    yield f"    return dwconv_network_run(network, inputs, outputs, {kept}, workspace, sizeof workspace,"
    yield "                              NULL, NULL, NULL);"
    yield "}"
    yield ""
    yield f"const dwconv_network *{name}_network(void) {{"
    yield "    return network;"
    yield "}"
    yield ""


# ---- weights ------------------------------------------------------------------------------------


def _weights_type(name: str, told: Descriptors) -> list[str]:
    """Bits, so that every float is exactly what it was, NaN included; a union may be read as either."""
    count = max(1, told.count("float32"))
    return [
        f"extern const union {name}_weights {{",
        f"    uint32_t bits[{count}];",
        f"    float values[{count}];",
        f"}} {name}_weights;",
        *(f"extern const {TYPES[kind]} {name}_{kind}[{told.count(kind)}];" for kind in _integer_kinds(told)),
    ]


def _integer_kinds(told: Descriptors) -> list[str]:
    return sorted(kind for kind in told.constants if kind != "float32")


def _weights(name: str, told: Descriptors) -> str:
    lines = ["#include <stdint.h>", "", f"/* The constants of {name}. */", *_weights_type(name, told)]
    lines.append(f"const union {name}_weights {name}_weights = {{{{")
    for array in told.constants.get("float32", [np.zeros(1, np.float32)]):
        words = [f"0x{bits:08x}" for bits in array.reshape(-1).view(np.uint32).tolist()]
        lines += [f"    {', '.join(words[i : i + 8])}," for i in range(0, len(words), 8)]
    lines.append("}};")
    for kind in _integer_kinds(told):
        lines.append(f"const {TYPES[kind]} {name}_{kind}[{told.count(kind)}] = {{")
        for array in told.constants[kind]:
            words = [_integer(number) for number in array.reshape(-1).tolist()]
            lines += [f"    {', '.join(words[i : i + 16])}," for i in range(0, len(words), 16)]
        lines.append("};")
    return "\n".join([*lines, ""])


def _integer(number: int) -> str:
    """-2^31 is no literal of int32."""
    return str(number) if number > -(2**31) else "-2147483647 - 1"
