"""Networks as C: `Network.to_c` and `dwconv compile` give code that is clean, and computes the same bits."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import compiled_core
import dwconv
from byte_graphs import Bytes
from dwconv import ccode, cli
from dwconv.graph import Builder, Quantization
from networks import channels_first, classifier, two_inputs, weights
from oracles import backends, using

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "c"
CSRC = Path(__file__).resolve().parents[1] / "csrc"
MODELS = Path(__file__).resolve().parents[2] / "shared" / "models"
CC = shutil.which("cc")
STRICT = ("-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")
pytestmark = [
    pytest.mark.skipif("baseline" not in backends(), reason="the compiled core is not there"),
    pytest.mark.skipif(CC is None or not CSRC.exists(), reason="no C compiler, or not the source tree"),
]

MAIN = """
#include <stdio.h>
#include "NAME.h"

DECLARATIONS

int main(int count, char **files) {
    dwconv_status status = NAME_init();
    if (status) {
        puts(dwconv_status_string(status));
        return 1;
    }
    for (int i = 1; i < count; i++) {
        FILE *file = fopen(files[i], "rb");
        if (!file || fread(inputs[i - 1], 1, sizes[i - 1], file) != sizes[i - 1]) return 2;
        fclose(file);
    }
    for (int i = 0; i < 2; i++) status = NAME_run(ARGUMENTS);
    if (status) puts(dwconv_status_string(status));
    OUTPUTS
    return status != DWCONV_OK;
}
"""


def run(*command: object, cwd: Path | None = None) -> bytes:
    result = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, check=False)
    assert result.returncode == 0, (result.stdout[-3000:], result.stderr[-3000:].decode())
    return result.stdout


class Target(NamedTuple):
    """Objects of the core, what compiles for them, and what runs the result."""

    compiler: str
    objects: list[Path]
    emulator: tuple[str, ...] = ()


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Target:
    options = ("-O2", *compiled_core.BASELINE)
    return Target(str(CC), compiled_core.objects(str(CC), tmp_path_factory.mktemp("here"), *options))


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> Target:
    """Arm64 with NEON, under emulation."""
    compiler, emulator = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
    if compiler is None or emulator is None:
        pytest.skip("there is no compiler for Arm64, or no emulator")
    objects = compiled_core.objects(compiler, tmp_path_factory.mktemp("arm"), "-O1")
    return Target(compiler, objects, (emulator, "-L", "/usr/aarch64-linux-gnu"))


on_each_machine = pytest.mark.parametrize("machine", ["here", pytest.param("arm", marks=pytest.mark.slow)])


def compiled(net: dwconv.Network, target: Target, folder: Path, xs: list[Any]) -> list[Any]:
    """What the network gives when it runs as C, for inputs xs."""
    header, *sources = net.to_c(folder, "net_under_test")
    name = header.stem
    text = header.read_text(encoding="utf-8")
    (signature,) = re.findall(rf"dwconv_status {name}_run\((.*)\);", text)
    words = [word.rpartition("*")[2] for word in signature.split(", ")]
    types = [re.sub(r"const | \*.*", "", word) for word in signature.split(", ")]
    sizes = {word: f"{name.upper()}_{word.upper()}_ELEMENTS" for word in words}
    takes = words[: len(xs)]
    declarations = [f"static {kind} {word}[{sizes[word]}];" for kind, word in zip(types, words, strict=True)]
    declarations.append(f"static void *const inputs[] = {{{', '.join(takes)}}};")
    declarations.append(f"static const size_t sizes[] = {{{', '.join(f'sizeof {word}' for word in takes)}}};")
    outputs = [f"fwrite({w}, 1, sizeof {w}, stdout);" for w in words[len(xs) :]]
    main = MAIN.replace("NAME", name).replace("DECLARATIONS", "\n".join(declarations))
    main = main.replace("ARGUMENTS", ", ".join(words)).replace("OUTPUTS", "\n    ".join(outputs))
    (folder / "main.c").write_text(main, encoding="utf-8")
    for path in (*sources, folder / "main.c"):
        run(target.compiler, *STRICT, "-O1", f"-I{CSRC}", "-c", path, "-o", path.with_suffix(".o"))
    objects = [path.with_suffix(".o") for path in (*sources, folder / "main.c")]
    run(target.compiler, *objects, *target.objects, "-lm", "-pthread", "-o", folder / "program")
    files = []
    for index, x in enumerate(xs):
        files.append(folder / f"x{index}.bin")
        x.tofile(files[-1])
    answer = run(*target.emulator, folder / "program", *files)
    found: list[Any] = []
    for info, shape in zip(net.outputs, net._latest().output_shapes, strict=True):
        count = int(np.prod(shape))
        found.append(np.frombuffer(answer[: count * info.dtype.itemsize], info.dtype).reshape(shape))
        answer = answer[count * info.dtype.itemsize :]
    assert not answer
    return found


def results(net: dwconv.Network, target: Target, folder: Path) -> list[tuple[Any, Any]]:
    """Of every output what C gives, and what Python gives on the baseline."""
    rng = np.random.default_rng(0)
    xs = [drawn(rng, info.dtype, shape) for info, shape in zip(net.inputs, net.input_shapes, strict=True)]
    with using("baseline"):
        expected = net(*xs)
    expected = list(expected.values()) if isinstance(expected, dict) else [expected]
    return list(zip(compiled(net, target, folder, xs), expected, strict=True))


def drawn(rng: np.random.Generator, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
    if dtype.kind == "f":
        return rng.uniform(-1, 1, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def person_detection(rounding: str = "even") -> dwconv.Network:
    pytest.importorskip("tflite")
    path = MODELS / "vww_96_int8.tflite"
    if not path.exists():
        pytest.skip(f"there is no {path.name}")
    return dwconv.Network.from_tflite(path, rounding=rounding).bind((1, 96, 96, 3))


def palm_detection() -> dwconv.Network:
    pytest.importorskip("tflite")
    path = MODELS / "palm_detection_lite.tflite"
    if not path.exists():
        pytest.skip(f"there is no {path.name}")
    return dwconv.load(path)


def variety() -> Builder:
    """A node of almost every kind, attributes that need care in C, names that are none there."""
    b = Builder()
    x = b.input("for", (1, 9, 8, 6))
    y = b.node(
        "conv", x, weights(3, 3, 6, 8), weights(8), padding=((1, 0), (2, 1)), activation=("clip", 0.0, np.inf)
    )
    y = b.node("conv", y, weights(3, 3, 1, 8), groups=8, padding="same", name="*/ #error \\ ??/ \u00e9")
    z = b.node("conv", y, weights(1, 1, 8, 8), activation="gelu")
    y = b.node("binary", y, z, kind="add", activation=("leaky_relu", 0.1))
    y = b.node(
        "average_pool", y, kernel=(3, 2), strides=(2, 2), padding=((1, 1), (0, 0)), count_include_pad=True
    )
    y = b.node("resize", y, kind="linear", sizes=(8, 8), coordinates="align_corners")
    y = b.node("resize", y, kind="nearest", scales=(1.5, 1.25), rounding="ceil", coordinates="asymmetric")
    y = b.node("gather", y, np.array([3, 1, 1, 0]), axis=1)
    y = b.node("layer_norm", y, weights(8), weights(8))
    y = b.node("transpose_conv", y, weights(3, 3, 8, 4), strides=(2, 2), padding=((1, 0), (0, 1)))
    y = b.node("pad", y, pads=((0, 0), (1, 1), (0, 0), (0, 2)), value=-np.inf)
    y = b.node("max_pool", y, kernel=(2, 2), ceil_mode=True)
    y = b.node("unary", y, kind="clip", a=-1.0, b=np.inf)
    y = b.node("prelu", y, weights(6))
    y = b.node("concat", y, b.node("unary", y, kind="elu", a=0.5, b=1.0), axis=3)
    y = b.node("reshape", y, shape=(1, -1, 12))
    y = b.node("matmul", y, b.node("transpose", y, perm=(0, 2, 1)))
    y = b.node("softmax", y, log=True)
    b.output("7 apples", b.node("slice", y, slices=(None, (0, 5, 2), (None, None, -1))))
    b.output("values", b.node("reduce", y, kind="max", axes=(1,)))
    return b


@pytest.mark.parametrize("build", [classifier, channels_first, two_inputs, variety])
def test_c_gives_the_same_bits(build: Callable[[], Builder], here: Target, tmp_path: Path) -> None:
    for y, same in results(dwconv.Network(build()), here, tmp_path):
        np.testing.assert_array_equal(y, same)


def test_a_model_file_becomes_c_with_the_same_bits(here: Target, tmp_path: Path) -> None:
    for y, same in results(palm_detection(), here, tmp_path):
        np.testing.assert_array_equal(y, same)


@pytest.mark.slow
def test_c_runs_on_arm_in_memory_of_the_sizes_of_the_header(arm: Target, tmp_path: Path) -> None:
    for net in (dwconv.Network(variety()), palm_detection()):
        for y, near in results(net, arm, tmp_path / net.name):
            np.testing.assert_allclose(y, near, rtol=0, atol=1e-5 * float(np.abs(near).max()))


def integers() -> Builder:
    """A node of almost every kind on 8-bit integers, with attributes that C has words for."""
    d = Bytes(5, "int8", "even")
    x = d.input(1, 9, 8, 6)
    y = d.b.node(
        "conv", x, d.filters(3, 3, 6, 8), d.bias(8), padding=((1, 0), (2, 1)), **d.result(0.5) | d.clamp()
    )
    y = d.b.node("lookup", y, d.integers(256), quantization=d.quantization())
    z = d.b.node("conv", y, d.filters(1, 1, 8, 8, shared=True, wide=True), d.bias(8), **d.result(0.5))
    y = d.b.node("binary", y, z, kind="add", **d.result())
    y = d.b.node("binary", y, d.constant(8), kind="mul", formula="float", **d.result())
    y = d.b.node("average_pool", y, kernel=(3, 2), strides=(2, 2), padding="same", **d.result())
    y = d.b.node(
        "resize", y, kind="linear", sizes=(8, 8), dtype="int8", quantization=d.of(y), integers="even"
    )
    y = d.b.node("prelu", y, d.constant(8), **d.result())
    y = d.b.node("pad", y, pads=((0, 0), (1, 1), (0, 0), (0, 2)), value=-3)
    y = d.b.node("max_pool", y, kernel=(2, 2))
    d.b.output("softmax", d.b.node("softmax", y, **d.result() | {"quantization": (1 / 256, -128)}))
    d.b.output("floats", d.b.node("dequantize", y))
    d.b.output("mean", d.b.node("reduce", y, kind="mean", axes=(1, 2), **d.result()))
    floats = d.b.input("more", (3, 5))
    d.b.output("bytes", d.b.node("quantize", floats, **d.result()))
    return d.b


@on_each_machine
def test_integers_have_the_same_bits_in_c(
    machine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    for y, same in results(dwconv.Network(integers()), request.getfixturevalue(machine), tmp_path):
        assert y.dtype == same.dtype
        np.testing.assert_array_equal(y, same)


def test_a_network_that_was_quantised_has_the_same_bits_in_c(here: Target, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    samples = rng.uniform(-1, 1, (4, 16, 16, 3)).astype(np.float32)
    net = dwconv.Network(classifier())
    made = net.quantized(samples)
    assert made.backend == "native"
    for y, same in results(made, here, tmp_path):
        np.testing.assert_array_equal(y, same)
    np.testing.assert_allclose(made(samples[:1]), net(samples[:1]), atol=0.1)


def test_a_stream_goes_on_from_run_to_run_in_c(here: Target, tmp_path: Path) -> None:
    d, q = Bytes(9, "int8", "even"), Quantization(0.05, 3, None)
    x = d.input(1, 2, 8, 6, q=q)
    kept = d.b.state("kept", d.integers(1, 2, 8, 6), q)
    before = d.b.state("before", d.integers(1, 2, 8, 6), q)
    y = d.b.node("concat", before, kept, x, axis=1)
    d.b.output("y", d.b.node("conv", y, d.filters(3, 3, 6, 5), d.bias(5), **d.result(0.5)))
    d.b.keep(kept, x)
    d.b.keep(before, kept)
    net = dwconv.Network(d.b)
    array = d.integers(1, 2, 8, 6)
    state = net.new_state()
    first, second = (net(array, state=state) for _ in range(2))
    assert not np.array_equal(first, second)
    (found,) = compiled(net, here, tmp_path, [array])  # the program runs it twice
    np.testing.assert_array_equal(found, second)


@on_each_machine
@pytest.mark.parametrize("rounding", ["even", "tflite"])
def test_the_person_detector_has_the_bits_of_python(
    rounding: str, machine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    net = person_detection(rounding)
    frames = np.random.default_rng(7).integers(0, 256, (3, 96, 96, 3)).astype(np.uint8)
    frames[1] = 255
    frames.tofile(tmp_path / "frames.rgb")
    _, *network = net.to_c(tmp_path, "person")
    scores = [int(net((frame[None].astype(np.int16) - 128).astype(np.int8))[0, 1]) for frame in frames]
    expected = [f"{(score + 128) / 256:.3f}" for score in scores]
    target: Target = request.getfixturevalue(machine)
    program = tmp_path / "person"
    run(
        target.compiler, *STRICT, "-O1", f"-I{CSRC}", f"-I{tmp_path}", EXAMPLES / "person.c", *network,
        *target.objects, "-lm", "-pthread", "-o", program,
    )  # fmt: skip
    lines = run(*target.emulator, program, tmp_path / "frames.rgb").decode().splitlines()
    assert [line.split()[2] for line in lines] == expected


@pytest.mark.usefixtures("thread_setting")
def test_the_header_tells_sizes_that_suffice_for_every_instruction_set(tmp_path: Path) -> None:
    dwconv.set_num_threads(1)
    net = dwconv.Network(classifier(), name="small-net")
    header = net.to_c(tmp_path)[0]
    assert header.name == "small_net.h"
    text = header.read_text(encoding="utf-8")
    told = {word: int(size) for word, size in re.findall(r"#define SMALL_NET_(\w+)_BYTES (\d+)", text)}
    for isa in set(backends()) - {"numpy"}:
        with using(isa):
            runner = dwconv.Network(classifier())._latest().runner
            assert told["NETWORK"] >= runner.weight_bytes
            assert told["WORKSPACE"] >= runner.workspace_bytes
    assert "image: [1, 16, 16, 3]" in text


@pytest.mark.parametrize("name", ["2net", "a-b", "", "for", "a.b", "\u00e9"])
def test_names_that_are_none_in_c_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name must be an identifier of C"):
        dwconv.Network(classifier()).to_c(tmp_path, name)


def test_identifiers_are_made_of_any_name() -> None:
    taken: set[str] = set()
    names = ["image", "Image", "StatefulPartitionedCall:0", "7", "int", "values", "", "\u00e9", "image_"]
    made = [ccode.identifier(name, taken) for name in names]
    assert len(set(made)) == len(made)
    assert made[:4] == ["image", "image_", "statefulpartitionedcall_0", "x_7"]
    assert all(re.fullmatch(r"[a-z]\w*", name, re.ASCII) for name in made)


def test_what_runs_through_numpy_alone_is_refused(tmp_path: Path) -> None:
    b = Builder()
    b.output("y", b.node("unary", b.input("x", (2, 3), np.float64), kind="exp"))
    with pytest.raises(dwconv.UnsupportedModel, match="float64"):
        dwconv.Network(b).to_c(tmp_path)


def test_compile_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dwconv.Network(classifier(), name="small").save(tmp_path / "small.npz")
    words = ["compile", str(tmp_path / "small.npz"), "-o", str(tmp_path / "c")]
    assert cli.main(words) == 0
    files = capsys.readouterr().out.split()
    assert [Path(file).name for file in files] == ["small.h", "small.c", "small_weights.c"]
    assert all(Path(file).exists() for file in files)
    assert cli.main([*words, "--name", "a b"]) == 2
    assert "must be an identifier of C" in capsys.readouterr().err
