# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=False
# cython: freethreading_compatible=True
"""The C core for Python: buffers in, plan calls out. The only module that knows C; dwconv.h is its manual.

Operations come as `dwconv.operation.Operation`, checked. Tensors come as anything with a buffer; `Plan.run`
leaves to its caller what it cannot address, so that a call which needs no words costs nothing extra.

Free-threaded Python: what threads share are plans, which never change but for the size of scratch that was
asked for last, and that is read and written in critical sections. Scratch is a thread's own.
"""

import json
import math
import threading

cimport cython
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS,
    PyBUF_FORMAT,
    PyBUF_STRIDES,
    PyBUF_WRITABLE,
    PyBuffer_FillInfo,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from libc.stdint cimport int32_t, int64_t, uint8_t, uintptr_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from dwconv cimport *
from dwconv._gradient cimport *
from dwconv._network cimport *

from numpy import empty, float32, int8, ndarray, uint8


# ---- the library ------------------------------------------------------------------------------

cdef extern from *:
    """
    #ifdef __clang__
    #define COMPILER __VERSION__ /* "Clang 14.0.6" */
    #else
    #define COMPILER "GCC " __VERSION__
    #endif
    """
    const char *COMPILER


def version():
    return dwconv_version().decode()


def has_threads():
    return bool(dwconv_has_threads())


def compiler():
    """What built this module: "GCC 12.2.0"."""
    return COMPILER.decode()


def isas_compiled():
    """Names of the instruction sets that this build holds, best last."""
    names = [dwconv_isa_name(i) for i in range(dwconv_isa_count())]
    return [name.decode() for name in names if dwconv_isa_compiled(name)]


def isas_available():
    """Names of those that this CPU has too, best last."""
    names = [dwconv_isa_name(i) for i in range(dwconv_isa_count())]
    return [name.decode() for name in names if dwconv_isa_available(name)]


def isa_best():
    return dwconv_isa_best().decode()


cdef object error_of(dwconv_status status, str name):
    """The exception for a status; operations and tensors were checked before, so it is a last resort."""
    message = f"{name}: {dwconv_status_string(status).decode()}"
    if status == DWCONV_NO_MEMORY:
        return MemoryError(message)
    return TypeError(message) if status == DWCONV_BAD_DTYPE else ValueError(message)


include "_descriptions.pxi"
include "_tensors.pxi"
include "_memory.pxi"


def reference(operation, x, out):
    """Writes operation(x) into `out` by the plain loops of the C oracle. Slow."""
    cdef Description description = Description(operation)
    cdef Py_buffer x_view, y_view
    cdef dwconv_tensor x_tensor, y_tensor
    cdef dwconv_status status
    cdef dwconv_dtype x_dtype = <dwconv_dtype><int>DTYPES[operation.dtype.char]
    cdef dwconv_dtype y_dtype = <dwconv_dtype><int>DTYPES[operation.output_dtype.char]
    if not describe_tensor(x, 0, x_dtype, &x_view, &x_tensor):
        raise ValueError(
            f"{operation.name}: x is not a {operation.dtype} tensor with contiguous channels"
        )
    if not describe_tensor(out, PyBUF_WRITABLE, y_dtype, &y_view, &y_tensor):
        PyBuffer_Release(&x_view)
        raise ValueError(
            f"{operation.name}: out is not a writable {operation.output_dtype} tensor "
            "with contiguous channels"
        )
    with nogil:
        status = dwconv_reference(&description.desc, &x_tensor, &y_tensor)
    PyBuffer_Release(&y_view)
    PyBuffer_Release(&x_view)
    if status != DWCONV_OK:
        raise error_of(status, operation.name)


cdef extern from "graph/memory.h" nogil:
    void *dwc_allocate(size_t bytes)


# ---- plans ------------------------------------------------------------------------------------

cdef class Scratch:
    """Memory of one thread, for whatever plan runs on it; it grows to the most that any of them asks for."""

    cdef void *aligned
    cdef size_t bytes

    cdef int reserve(self, size_t bytes) except -1:
        if bytes <= self.bytes:
            return 0
        free(self.aligned)
        self.bytes = 0
        self.aligned = dwc_allocate(bytes)
        if self.aligned == NULL:
            raise MemoryError(f"{bytes} bytes of scratch memory")
        self.bytes = bytes
        return 0

    def __dealloc__(self):
        free(self.aligned)


thread_state = threading.local()


cdef Scratch scratch_of_thread(size_t bytes):
    cdef Scratch scratch = getattr(thread_state, "scratch", None)
    if scratch is None:
        scratch = thread_state.scratch = Scratch()
    scratch.reserve(bytes)
    return scratch


include "_teams.pxi"


cdef class Plan:
    """An operation with its filters packed for one instruction set; never changes after creation."""

    cdef dwconv_plan *plan
    cdef str name
    cdef bint has_scratch
    cdef dwconv_dtype x_dtype, y_dtype
    # The scratch that was asked for last: bytes for this shape and so many threads.
    cdef int64_t sized_shape[4]
    cdef int sized_threads
    cdef size_t sized_bytes

    def __cinit__(self, operation, str isa):
        cdef Description description = Description(operation)
        cdef dwconv_status status
        cdef bytes name = isa.encode()
        self.name = operation.name
        self.has_scratch = len(operation.stages) > 1 or operation.quantization is not None
        self.x_dtype = <dwconv_dtype><int>DTYPES[operation.dtype.char]
        self.y_dtype = <dwconv_dtype><int>DTYPES[operation.output_dtype.char]
        description.desc.isa = name
        with nogil:
            status = dwconv_plan_create(&description.desc, &self.plan)
        if status != DWCONV_OK:
            raise error_of(status, self.name)

    def __dealloc__(self):
        dwconv_plan_destroy(self.plan)

    @property
    def isa(self):
        return dwconv_plan_isa(self.plan).decode()

    @property
    def nbytes(self):
        return dwconv_plan_bytes(self.plan)

    @property
    def kernels(self):
        """The names of its kernels, in the order in which they run."""
        return tuple(node["kernel"] for node in self.explain()["nodes"] if "kernel" in node)

    def explain(self, input_shape=None, int threads=1):
        """What dwconv_explain tells of a run on a contiguous input of this shape: its JSON, read."""
        return json.loads(self.explained(DWCONV_JSON, input_shape, threads))

    def explain_text(self, input_shape=None, int threads=1):
        """The same as lines of "label: value"."""
        return self.explained(DWCONV_TEXT, input_shape, threads)

    cdef str explained(self, dwconv_format format, input_shape, int threads):
        cdef int64_t shape[4]
        cdef dwconv_threads workers = team_of(threads)
        cdef size_t needed
        cdef bytearray text
        if input_shape is not None:
            shape[0], shape[1], shape[2], shape[3] = input_shape
        cdef const int64_t *input = NULL if input_shape is None else shape
        cdef dwconv_status status = dwconv_explain(self.plan, input, &workers, format, NULL, 0, &needed)
        if status != DWCONV_OK:
            raise error_of(status, self.name)
        text = bytearray(needed)
        dwconv_explain(self.plan, input, &workers, format, text, needed, NULL)
        return text[: needed - 1].decode()

    def scratch_size(self, input_shape, int threads=1):
        """Bytes of scratch memory for an input [batch, height, width, channels]."""
        cdef int64_t shape[4]
        cdef size_t bytes = 0
        shape[0], shape[1], shape[2], shape[3] = input_shape
        cdef dwconv_status status = dwconv_scratch_size(self.plan, shape, threads, &bytes)
        if status != DWCONV_OK:
            raise error_of(status, self.name)
        return bytes

    def run(self, x, out, threads, bint strict=False):
        """Writes the result into `out`, or into a new array where that is None, and returns it.

        Where C cannot address the tensors, or refuses them, returns NotImplemented; raises if `strict`.
        """
        cdef Py_buffer x_view, y_view
        cdef dwconv_tensor x_tensor, y_tensor
        cdef dwconv_status status = DWCONV_BAD_LAYOUT
        if describe_tensor(x, 0, self.x_dtype, &x_view, &x_tensor):
            try:
                if out is None:
                    out = self.new_output(&x_tensor)
                if isinstance(out, ndarray) and describe_tensor(
                    out, PyBUF_WRITABLE, self.y_dtype, &y_view, &y_tensor
                ):
                    try:
                        status = self.execute(&x_tensor, &y_tensor, threads)
                    finally:
                        PyBuffer_Release(&y_view)
            finally:
                PyBuffer_Release(&x_view)
        if status == DWCONV_OK:
            return out
        if strict:
            raise error_of(status, self.name)
        return NotImplemented

    cdef object new_output(self, const dwconv_tensor *x):
        """None: the input does not fit."""
        cdef int64_t input[4]
        cdef int64_t output[4]
        input[0], input[1], input[2], input[3] = x.batch, x.height, x.width, x.channels
        if dwconv_output_shape(self.plan, input, output) != DWCONV_OK:
            return None
        return empty_aligned(output, self.y_dtype)

    cdef dwconv_status execute(self, const dwconv_tensor *x, const dwconv_tensor *y, threads) except *:
        cdef dwconv_threads workers = team_of(threads)
        cdef dwconv_status status
        cdef size_t bytes = 0
        cdef void *memory = NULL
        cdef Scratch scratch
        if self.has_scratch and x.batch > 0:
            status = self.scratch_for(x, workers.count, &bytes)
            if status != DWCONV_OK:
                return status
            scratch = scratch_of_thread(bytes)
            memory = scratch.aligned
        with nogil:
            status = dwconv_run(self.plan, x, y, memory, bytes, &workers)
        return status

    cdef dwconv_status scratch_for(self, const dwconv_tensor *x, int threads, size_t *bytes):
        """Decided once for a shape and a number of threads that come again and again."""
        cdef int64_t[4] input
        cdef dwconv_status status = DWCONV_OK
        input[0], input[1], input[2], input[3] = x.batch, x.height, x.width, x.channels
        with cython.critical_section(self):
            if threads != self.sized_threads or memcmp(input, self.sized_shape, sizeof(input)) != 0:
                status = dwconv_scratch_size(self.plan, input, threads, &self.sized_bytes)
                memcpy(self.sized_shape, input, sizeof(input))
                self.sized_threads = threads if status == DWCONV_OK else -1
            bytes[0] = self.sized_bytes
        return status


include "_gradient.pxi"
include "_network_names.pxi"
include "_batch_norm.pxi"
include "_network.pxi"
