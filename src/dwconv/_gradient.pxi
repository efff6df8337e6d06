# Gradients: part of _core.pyx. Convolutions come as `dwconv.gradients_numpy.Convolution`, checked.

cdef class Tensor:
    """A float32 tensor, held in place for as long as this lives; where not `held`, C cannot address it."""

    cdef Py_buffer view
    cdef dwconv_tensor tensor
    cdef bint held

    def __cinit__(self, array, int flags=0):
        self.held = describe_tensor(array, flags, DWCONV_F32, &self.view, &self.tensor)

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)


cdef class Gradient:
    """The gradients of one forward convolution on one instruction set ("reference": the plain loops)."""

    cdef dwconv_gradient_desc desc
    cdef bytes isa
    cdef str name
    cdef bint plain
    cdef int64_t[4] input
    cdef readonly tuple x_shape, filter_shape

    def __cinit__(self, conv, str isa):
        memset(&self.desc, 0, sizeof(self.desc))
        self.name = conv.name
        self.plain = isa == "reference"
        self.isa = b"baseline" if self.plain else isa.encode()
        self.x_shape, self.filter_shape = conv.x, conv.filters
        self.desc.size = sizeof(self.desc)
        self.desc.isa = self.isa
        self.desc.in_channels, self.desc.out_channels = conv.x[3], conv.y[3]
        self.desc.groups = conv.x[3] if conv.depthwise else conv.groups
        describe_window(&self.desc.window, conv.window)
        self.input[0], self.input[1], self.input[2], self.input[3] = conv.x

    def scratch_size(self, str of, int threads=1):
        """Bytes of scratch for the gradient of "input", "filter" or "both"; "normalized": as for both."""
        cdef size_t bytes = 0
        self.ask(of, threads, &bytes)
        return bytes

    def explain(self, int threads=1):
        """What dwconv_gradient_explain tells of contiguous tensors: its JSON, read."""
        return json.loads(self.explained(DWCONV_JSON, threads))

    def explain_text(self, int threads=1):
        """The same as lines of "label: value"."""
        return self.explained(DWCONV_TEXT, threads)

    cdef str explained(self, dwconv_format format, int threads):
        cdef size_t needed = 0
        cdef dwconv_status status = dwconv_gradient_explain(
            &self.desc, self.input, threads, format, NULL, 0, &needed
        )
        if status != DWCONV_OK:
            raise error_of(status, self.name)
        cdef bytearray text = bytearray(needed)
        dwconv_gradient_explain(&self.desc, self.input, threads, format, text, needed, NULL)
        return text[: needed - 1].decode()

    cdef int ask(self, str of, int threads, size_t *bytes) except -1:
        cdef dwconv_status status
        if of == "both":
            status = dwconv_both_gradients_scratch(&self.desc, self.input, threads, bytes)
        elif of == "normalized":
            status = dwconv_normalized_gradients_scratch(&self.desc, self.input, threads, bytes)
        elif of == "input":
            status = dwconv_input_gradient_scratch(&self.desc, self.input, threads, bytes)
        else:
            status = dwconv_filter_gradient_scratch(&self.desc, self.input, threads, bytes)
        if status != DWCONV_OK:
            raise error_of(status, self.name)
        return 0

    def of_input(self, filters, dy, out, threads):
        """Writes into `out`, or a new array where that is None. NotImplemented: C cannot address a tensor."""
        cdef Floats weights = Floats(filters)
        cdef Tensor y = Tensor(dy)
        if out is None:
            out = empty_aligned(self.input, DWCONV_F32)
        cdef Tensor x = Tensor(out, PyBUF_WRITABLE)
        cdef dwconv_threads workers = team_of(threads)
        cdef size_t bytes = 0
        cdef dwconv_status status
        cdef Scratch scratch
        if not y.held or not x.held:
            return NotImplemented
        self.ask("input", workers.count, &bytes)
        scratch = scratch_of_thread(bytes)
        with nogil:
            if self.plain:
                status = dwconv_input_gradient_reference(
                    &self.desc, <const float *>weights.view.buf, &y.tensor, &x.tensor
                )
            else:
                status = dwconv_input_gradient(&self.desc, <const float *>weights.view.buf, &y.tensor,
                                               &x.tensor, scratch.aligned, bytes, &workers)
        if status != DWCONV_OK:
            raise error_of(status, self.name)
        return out

    def of_filter(self, x, dy, bint with_filter, bint with_bias, threads):
        """(filter gradient, bias gradient), None for what is not wanted. NotImplemented as above."""
        cdef Tensor inputs = Tensor(x)
        cdef Tensor y = Tensor(dy)
        cdef Floats filter_floats, bias_floats
        cdef float *filter_to = NULL
        cdef float *bias_to = NULL
        cdef dwconv_threads workers = team_of(threads)
        cdef size_t bytes = 0
        cdef dwconv_status status
        cdef Scratch scratch
        if not inputs.held or not y.held:
            return NotImplemented
        filters = bias = None
        if with_filter:
            filters = empty(self.filter_shape, float32)
            filter_floats = Floats(filters, PyBUF_WRITABLE)
            filter_to = <float *>filter_floats.view.buf
        if with_bias:
            bias = empty(self.desc.out_channels, float32)
            bias_floats = Floats(bias, PyBUF_WRITABLE)
            bias_to = <float *>bias_floats.view.buf
        self.ask("filter", workers.count, &bytes)
        scratch = scratch_of_thread(bytes)
        with nogil:
            if self.plain:
                status = dwconv_filter_gradient_reference(
                    &self.desc, &inputs.tensor, &y.tensor, filter_to, bias_to
                )
            else:
                status = dwconv_filter_gradient(&self.desc, &inputs.tensor, &y.tensor, filter_to, bias_to,
                                                scratch.aligned, bytes, &workers)
        if status != DWCONV_OK:
            raise error_of(status, self.name)
        return filters, bias

    def of_both(self, filters, x, dy, out, bint with_bias, threads):
        """(input gradient, filter gradient, bias gradient or None). NotImplemented as above."""
        cdef Floats weights = Floats(filters)
        cdef Tensor inputs = Tensor(x)
        cdef Tensor y = Tensor(dy)
        cdef Floats bias_floats
        cdef float *bias_to = NULL
        cdef dwconv_threads workers = team_of(threads)
        cdef size_t bytes = 0
        cdef dwconv_status status
        cdef Scratch scratch
        if self.plain:
            found = self.of_filter(x, dy, True, with_bias, threads)
            return (self.of_input(filters, dy, out, threads), *found)
        if out is None:
            out = empty_aligned(self.input, DWCONV_F32)
        cdef Tensor dx = Tensor(out, PyBUF_WRITABLE)
        if not inputs.held or not y.held or not dx.held:
            return NotImplemented
        gradient, bias = empty(self.filter_shape, float32), None
        cdef Floats filter_floats = Floats(gradient, PyBUF_WRITABLE)
        if with_bias:
            bias = empty(self.desc.out_channels, float32)
            bias_floats = Floats(bias, PyBUF_WRITABLE)
            bias_to = <float *>bias_floats.view.buf
        self.ask("both", workers.count, &bytes)
        scratch = scratch_of_thread(bytes)
        with nogil:
            status = dwconv_both_gradients(&self.desc, <const float *>weights.view.buf, &inputs.tensor,
                                           &y.tensor, &dx.tensor, <float *>filter_floats.view.buf, bias_to,
                                           scratch.aligned, bytes, &workers)
        if status != DWCONV_OK:
            raise error_of(status, self.name)
        return out, gradient, bias


def activation_gradient(activation, values, bint from_output, dy, out, threads, str isa):
    """Writes into `out`; all are contiguous float32 arrays of one size."""
    cdef Floats v = Floats(values)
    cdef Floats d = Floats(dy)
    cdef Floats to = Floats(out, PyBUF_WRITABLE)
    cdef dwconv_activation act
    cdef dwconv_threads workers = team_of(threads)
    cdef dwconv_status status
    cdef bytes name = isa.encode()
    cdef bint plain = isa == "reference"
    cdef const char *c_name = name
    cdef dwconv_slope_source source = DWCONV_FROM_OUTPUT if from_output else DWCONV_FROM_INPUT
    cdef int64_t count = v.view.len // <Py_ssize_t>sizeof(float)
    if v.view.len != d.view.len or v.view.len != to.view.len:
        raise ValueError("activation_gradient: arrays of different sizes")
    act.kind = <dwconv_activation_kind><int>ACTIVATIONS[activation.kind]
    act.a, act.b = activation.a, activation.b
    with nogil:
        if plain:
            status = dwconv_activation_gradient_reference(
                &act, source, <const float *>v.view.buf, <const float *>d.view.buf,
                <float *>to.view.buf, count
            )
        else:
            status = dwconv_activation_gradient(
                c_name, &act, source, <const float *>v.view.buf, <const float *>d.view.buf,
                <float *>to.view.buf, count, &workers
            )
    if status != DWCONV_OK:
        raise error_of(status, "activation_backprop")
    return out
