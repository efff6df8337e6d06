# Tensors for the C core: included by _core.pyx.

DTYPES = {"f": DWCONV_F32, "b": DWCONV_S8, "B": DWCONV_U8}  # by the character of NumPy's: its name takes 2 us


cdef inline bint is_float32(const Py_buffer *view) noexcept:
    return view.itemsize == sizeof(float) and view.format[0] == b"f" and view.format[1] == 0


cdef inline Py_ssize_t bytes_of(dwconv_dtype dtype) noexcept:
    return sizeof(float) if dtype == DWCONV_F32 else 1


cdef inline bint has_dtype(const Py_buffer *view, dwconv_dtype dtype) noexcept:
    if dtype == DWCONV_F32:
        return is_float32(view)
    cdef char expected = c"b" if dtype == DWCONV_S8 else c"B"
    return view.format[0] == expected and view.format[1] == 0


cdef bint describe_tensor(
    object array, int flags, dwconv_dtype dtype, Py_buffer *view, dwconv_tensor *tensor
):
    """Takes the buffer of `array`, to be released. False, with nothing taken: C cannot address it."""
    try:
        PyObject_GetBuffer(array, view, PyBUF_STRIDES | PyBUF_FORMAT | flags)
    except Exception:  # TypeError, BufferError, ValueError: as the exporter likes
        return False
    if view.ndim == 4 and has_dtype(view, dtype) and has_layout(view, dtype, tensor):
        return True
    PyBuffer_Release(view)
    return False


cdef bint has_layout(const Py_buffer *view, dwconv_dtype dtype, dwconv_tensor *tensor) noexcept:
    cdef const Py_ssize_t *shape = view.shape
    cdef const Py_ssize_t *strides = view.strides
    cdef Py_ssize_t size = bytes_of(dtype)
    cdef int axis
    tensor.data = view.buf
    tensor.dtype = dtype
    tensor.batch, tensor.height, tensor.width, tensor.channels = shape[0], shape[1], shape[2], shape[3]
    tensor.image_stride = tensor.row_stride = tensor.pixel_stride = 0
    if shape[0] == 0:
        return True
    for axis in range(3):  # C takes a stride of 0 for "contiguous"
        if strides[axis] % size or (strides[axis] == 0 and shape[axis] > 1):
            return False
    if shape[3] > 1 and strides[3] != size:
        return False
    tensor.image_stride = strides[0] // size
    tensor.row_stride = strides[1] // size
    tensor.pixel_stride = strides[2] // size
    return <uintptr_t>view.buf % <size_t>size == 0


# Smaller arrays (64 KB of floats) are what NumPy makes of them: choosing a place takes longer than it saves.
cdef enum:
    ALIGNED_ELEMENTS = 16384


cdef object empty_aligned(const int64_t[4] shape, dwconv_dtype dtype):
    """A new array, at the start of a cache line if it is large, so that vectors meet one line each."""
    kind = float32 if dtype == DWCONV_F32 else int8 if dtype == DWCONV_S8 else uint8
    sizes = shape[0], shape[1], shape[2], shape[3]
    if <double>shape[0] * shape[1] * shape[2] * shape[3] < ALIGNED_ELEMENTS:
        return empty(sizes, kind)
    count = math.prod(sizes)
    size = bytes_of(dtype)
    flat = empty(count + DWCONV_ALIGNMENT // size, kind)
    first = -flat.__array_interface__["data"][0] % DWCONV_ALIGNMENT // size
    return flat[first : first + count].reshape(sizes)
