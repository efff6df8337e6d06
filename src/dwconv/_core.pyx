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
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawMalloc
from libc.stdint cimport int32_t, int64_t, uintptr_t
from libc.string cimport memcmp, memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from dwconv cimport *
from dwconv._gradient cimport *
from dwconv._network cimport *

from numpy import empty, float32, ndarray


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


# ---- descriptions -----------------------------------------------------------------------------

ACTIVATIONS = {
    "identity": DWCONV_IDENTITY,
    "relu": DWCONV_RELU,
    "relu6": DWCONV_RELU6,
    "clip": DWCONV_CLIP,
    "leaky_relu": DWCONV_LEAKY_RELU,
    "hard_sigmoid": DWCONV_HARD_SIGMOID,
    "hard_swish": DWCONV_HARD_SWISH,
    "sigmoid": DWCONV_SIGMOID,
    "silu": DWCONV_SILU,
    "tanh": DWCONV_TANH,
    "gelu": DWCONV_GELU_ERF,
    "gelu_tanh": DWCONV_GELU_TANH,
}
RESIDUALS = {None: DWCONV_RESIDUAL_AUTO, False: DWCONV_RESIDUAL_OFF, True: DWCONV_RESIDUAL_ON}


cdef class Floats:
    """A contiguous float32 array, held in place for as long as this lives."""

    cdef Py_buffer view

    def __cinit__(self, array, int flags=0):
        PyObject_GetBuffer(array, &self.view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | flags)
        if not is_float32(&self.view):
            raise TypeError("arrays must be float32")

    def __dealloc__(self):
        PyBuffer_Release(&self.view)


cdef class Description:
    """A dwconv_desc and what it points to."""

    cdef dwconv_desc desc
    cdef dwconv_conv_desc conv, expand, project, squeeze, excite
    cdef list arrays

    def __cinit__(self, operation):
        memset(&self.desc, 0, sizeof(self.desc))
        self.desc.size = sizeof(self.desc)
        self.arrays = []
        if operation.flush_denormals:
            self.desc.flags = DWCONV_FLUSH_DENORMAL_WEIGHTS
        stages = list(operation.stages)
        if operation.kind == "inverted_residual":
            self.desc.residual = <dwconv_residual><int>RESIDUALS[operation.residual]
            if len(stages) == 3:
                self.desc.expand = self.part(&self.expand, stages.pop(0))
        self.desc.conv = self.part(&self.conv, stages[0])
        if len(stages) == 2:
            self.desc.project = self.part(&self.project, stages[1])
        if operation.squeeze_excite:
            self.desc.squeeze = self.part(&self.squeeze, operation.squeeze_excite[0])
            self.desc.excite = self.part(&self.excite, operation.squeeze_excite[1])

    cdef const float *floats(self, array) except? NULL:
        if array is None:
            return NULL
        cdef Floats held = Floats(array)
        self.arrays.append(held)
        return <const float *>held.view.buf

    cdef const dwconv_conv_desc *part(self, dwconv_conv_desc *desc, stage) except NULL:
        memset(desc, 0, sizeof(desc[0]))
        desc.size = sizeof(desc[0])
        desc.in_channels, desc.out_channels = stage.in_channels, stage.out_channels
        desc.groups = stage.in_channels if stage.kind == "depthwise" else stage.groups
        desc.filter = self.floats(stage.filters)
        desc.bias = self.floats(stage.bias)
        describe_window(&desc.window, stage.window)
        desc.activation.kind = <dwconv_activation_kind><int>ACTIVATIONS[stage.activation.kind]
        desc.activation.a, desc.activation.b = stage.activation.a, stage.activation.b
        return desc


cdef int describe_window(dwconv_window *desc, window) except -1:
    desc.kernel_h, desc.kernel_w = window.kernel
    desc.stride_h, desc.stride_w = window.strides
    desc.dilation_h, desc.dilation_w = window.dilations
    if window.padding == "valid":
        desc.padding = DWCONV_VALID
    elif window.padding == "same":
        desc.padding = DWCONV_SAME
    else:
        desc.padding = DWCONV_EXPLICIT
        (desc.pad_top, desc.pad_bottom), (desc.pad_left, desc.pad_right) = window.padding
    return 0


# ---- tensors ----------------------------------------------------------------------------------

cdef inline bint is_float32(const Py_buffer *view) noexcept:
    return view.itemsize == sizeof(float) and view.format[0] == b"f" and view.format[1] == 0


cdef bint describe_tensor(object array, int flags, Py_buffer *view, dwconv_tensor *tensor):
    """Takes the buffer of `array`, to be released. False, with nothing taken: C cannot address it."""
    try:
        PyObject_GetBuffer(array, view, PyBUF_STRIDES | PyBUF_FORMAT | flags)
    except Exception:  # TypeError, BufferError, ValueError: as the exporter likes
        return False
    if view.ndim == 4 and is_float32(view) and has_layout(view, tensor):
        return True
    PyBuffer_Release(view)
    return False


cdef bint has_layout(const Py_buffer *view, dwconv_tensor *tensor) noexcept:
    cdef const Py_ssize_t *shape = view.shape
    cdef const Py_ssize_t *strides = view.strides
    cdef int axis
    tensor.data = view.buf
    tensor.dtype = DWCONV_F32
    tensor.batch, tensor.height, tensor.width, tensor.channels = shape[0], shape[1], shape[2], shape[3]
    tensor.image_stride = tensor.row_stride = tensor.pixel_stride = 0
    if shape[0] == 0:
        return True
    for axis in range(3):  # C takes a stride of 0 for "contiguous"
        if strides[axis] % <Py_ssize_t>sizeof(float) or (strides[axis] == 0 and shape[axis] > 1):
            return False
    if shape[3] > 1 and strides[3] != sizeof(float):
        return False
    tensor.image_stride = strides[0] // <Py_ssize_t>sizeof(float)
    tensor.row_stride = strides[1] // <Py_ssize_t>sizeof(float)
    tensor.pixel_stride = strides[2] // <Py_ssize_t>sizeof(float)
    return <uintptr_t>view.buf % sizeof(float) == 0


def reference(operation, x, out):
    """Writes operation(x) into `out` by the plain loops of the C oracle. Slow."""
    cdef Description description = Description(operation)
    cdef Py_buffer x_view, y_view
    cdef dwconv_tensor x_tensor, y_tensor
    cdef dwconv_status status
    if not describe_tensor(x, 0, &x_view, &x_tensor):
        raise ValueError(f"{operation.name}: x is not a float32 tensor with contiguous channels")
    if not describe_tensor(out, PyBUF_WRITABLE, &y_view, &y_tensor):
        PyBuffer_Release(&x_view)
        raise ValueError(f"{operation.name}: out is not a writable float32 tensor with contiguous channels")
    with nogil:
        status = dwconv_reference(&description.desc, &x_tensor, &y_tensor)
    PyBuffer_Release(&y_view)
    PyBuffer_Release(&x_view)
    if status != DWCONV_OK:
        raise error_of(status, operation.name)


# ---- plans ------------------------------------------------------------------------------------

# Smaller arrays (64 KB) are what NumPy makes of them: choosing a place takes longer than it saves.
cdef enum:
    ALIGNED_ELEMENTS = 16384


cdef object empty_aligned(const int64_t[4] shape):
    """A new array, at the start of a cache line if it is large, so that vectors meet one line each."""
    sizes = shape[0], shape[1], shape[2], shape[3]
    if <double>shape[0] * shape[1] * shape[2] * shape[3] < ALIGNED_ELEMENTS:
        return empty(sizes, float32)
    count = math.prod(sizes)
    flat = empty(count + DWCONV_ALIGNMENT // 4, float32)
    first = -flat.__array_interface__["data"][0] % DWCONV_ALIGNMENT // 4
    return flat[first : first + count].reshape(sizes)


cdef class Scratch:
    """Memory of one thread, for whatever plan runs on it; it grows to the most that any of them asks for."""

    cdef void *memory
    cdef void *aligned
    cdef size_t bytes

    cdef int reserve(self, size_t bytes) except -1:
        if bytes <= self.bytes:
            return 0
        PyMem_RawFree(self.memory)
        self.bytes = 0
        self.memory = PyMem_RawMalloc(bytes + DWCONV_ALIGNMENT)
        if self.memory == NULL:
            raise MemoryError(f"{bytes} bytes of scratch memory")
        self.aligned = <void *>((<uintptr_t>self.memory // DWCONV_ALIGNMENT + 1) * DWCONV_ALIGNMENT)
        self.bytes = bytes
        return 0

    def __dealloc__(self):
        PyMem_RawFree(self.memory)


thread_state = threading.local()


cdef Scratch scratch_of_thread(size_t bytes):
    cdef Scratch scratch = getattr(thread_state, "scratch", None)
    if scratch is None:
        scratch = thread_state.scratch = Scratch()
    scratch.reserve(bytes)
    return scratch


cdef class Plan:
    """An operation with its filters packed for one instruction set; never changes after creation."""

    cdef dwconv_plan *plan
    cdef str name
    cdef bint has_scratch
    # The scratch that was asked for last: bytes for this shape and so many threads.
    cdef int64_t sized_shape[4]
    cdef int sized_threads
    cdef size_t sized_bytes

    def __cinit__(self, operation, str isa):
        cdef Description description = Description(operation)
        cdef dwconv_status status
        cdef bytes name = isa.encode()
        self.name = operation.name
        self.has_scratch = len(operation.stages) > 1
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
        cdef dwconv_threads workers
        cdef size_t needed
        cdef bytearray text
        memset(&workers, 0, sizeof(workers))
        workers.count = threads
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

    def run(self, x, out, int threads, bint strict=False):
        """Writes the result into `out`, or into a new array where that is None, and returns it.

        Where C cannot address the tensors, or refuses them, returns NotImplemented; raises if `strict`.
        """
        cdef Py_buffer x_view, y_view
        cdef dwconv_tensor x_tensor, y_tensor
        cdef dwconv_status status = DWCONV_BAD_LAYOUT
        if describe_tensor(x, 0, &x_view, &x_tensor):
            try:
                if out is None:
                    out = self.new_output(&x_tensor)
                if isinstance(out, ndarray) and describe_tensor(out, PyBUF_WRITABLE, &y_view, &y_tensor):
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
        return empty_aligned(output)

    cdef dwconv_status execute(self, const dwconv_tensor *x, const dwconv_tensor *y, int threads) except *:
        cdef dwconv_threads workers
        cdef dwconv_status status
        cdef size_t bytes = 0
        cdef void *memory = NULL
        cdef Scratch scratch
        memset(&workers, 0, sizeof(workers))
        workers.count = threads
        if self.has_scratch and x.batch > 0:
            status = self.scratch_for(x, threads, &bytes)
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
include "_network.pxi"
