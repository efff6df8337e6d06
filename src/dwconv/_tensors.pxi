# Tensors for the C core: included by _core.pyx.

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
