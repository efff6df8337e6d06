# Batch normalization: part of _core.pyx. Arrays are checked by `dwconv.normalization`.

cdef class BatchNorm:
    """Of so many channels, on one instruction set ("reference": the plain loops)."""

    cdef dwconv_batch_norm_desc desc
    cdef bytes isa
    cdef bint plain

    def __cinit__(self, int64_t channels, float epsilon, activation, bint fixed, str isa):
        memset(&self.desc, 0, sizeof(self.desc))
        self.plain = isa == "reference"
        self.isa = b"baseline" if self.plain else isa.encode()
        self.desc.size = sizeof(self.desc)
        self.desc.flags = DWCONV_FIXED_MOMENTS if fixed else 0
        self.desc.isa = self.isa
        self.desc.channels = channels
        self.desc.epsilon = epsilon
        self.desc.activation.kind = <dwconv_activation_kind><int>ACTIVATIONS[activation.kind]
        self.desc.activation.a, self.desc.activation.b = activation.a, activation.b

    cdef Scratch scratch_for(self, const dwconv_tensor *x, int threads, size_t *bytes):
        cdef int64_t[4] shape
        shape[0], shape[1], shape[2], shape[3] = x.batch, x.height, x.width, x.channels
        cdef dwconv_status status = dwconv_batch_norm_scratch(&self.desc, shape, threads, bytes)
        if status != DWCONV_OK:
            raise error_of(status, "batch_norm")
        return scratch_of_thread(bytes[0])

    def forward(self, x, gamma, beta, mean, variance, y, threads):
        """Writes y, and mean and variance that are not fixed. NotImplemented: C cannot address x or y."""
        cdef Tensor inputs = Tensor(x)
        cdef Tensor outputs = Tensor(y, PyBUF_WRITABLE)
        cdef Channels factors = Channels(gamma, self.desc.channels, 0)
        cdef Channels offsets = Channels(beta, self.desc.channels, 0)
        cdef int access = 0 if self.desc.flags & DWCONV_FIXED_MOMENTS else PyBUF_WRITABLE
        cdef Channels means = Channels(mean, self.desc.channels, access)
        cdef Channels variances = Channels(variance, self.desc.channels, access)
        cdef dwconv_threads workers = team_of(threads)
        cdef size_t bytes = 0
        cdef dwconv_status status
        cdef Scratch scratch
        if not inputs.held or not outputs.held:
            return NotImplemented
        scratch = self.scratch_for(&inputs.tensor, workers.count, &bytes)
        with nogil:
            if self.plain:
                status = dwconv_batch_norm_reference(&self.desc, &inputs.tensor, factors.data, offsets.data,
                                                     means.data, variances.data, &outputs.tensor)
            else:
                status = dwconv_batch_norm(&self.desc, &inputs.tensor, factors.data, offsets.data, means.data,
                                           variances.data, &outputs.tensor, scratch.aligned, bytes, &workers)
        if status != DWCONV_OK:
            raise error_of(status, "batch_norm")
        return y

    def backward(self, x, gamma, beta, mean, variance, dy, dx, dgamma, dbeta, threads):
        """Writes dx, dgamma and dbeta where these are not None. NotImplemented as above."""
        cdef Tensor inputs = Tensor(x)
        cdef Tensor slopes = Tensor(dy)
        cdef Tensor outputs = None
        cdef const dwconv_tensor *into = NULL
        cdef Channels factors = Channels(gamma, self.desc.channels, 0)
        cdef Channels offsets = Channels(beta, self.desc.channels, 0)
        cdef Channels means = Channels(mean, self.desc.channels, 0)
        cdef Channels variances = Channels(variance, self.desc.channels, 0)
        cdef Channels to_gamma = Channels(dgamma, self.desc.channels, PyBUF_WRITABLE)
        cdef Channels to_beta = Channels(dbeta, self.desc.channels, PyBUF_WRITABLE)
        cdef dwconv_threads workers = team_of(threads)
        cdef size_t bytes = 0
        cdef dwconv_status status
        cdef Scratch scratch
        if not inputs.held or not slopes.held:
            return NotImplemented
        if dx is not None:
            outputs = Tensor(dx, PyBUF_WRITABLE)
            if not outputs.held:
                return NotImplemented
            into = &outputs.tensor
        scratch = self.scratch_for(&inputs.tensor, workers.count, &bytes)
        with nogil:
            if self.plain:
                status = dwconv_batch_norm_gradient_reference(
                    &self.desc, &inputs.tensor, factors.data, offsets.data, means.data, variances.data,
                    &slopes.tensor, into, to_gamma.data, to_beta.data
                )
            else:
                status = dwconv_batch_norm_gradient(
                    &self.desc, &inputs.tensor, factors.data, offsets.data, means.data, variances.data,
                    &slopes.tensor, into, to_gamma.data, to_beta.data, scratch.aligned, bytes, &workers
                )
        if status != DWCONV_OK:
            raise error_of(status, "batch_norm_backprop")
        return dx

    def backward_through(self, Gradient conv, filters, x, between, gamma, beta, mean, variance, dy, dx,
                         bint with_bias, dgamma, dbeta, threads):
        """Of the convolution of x that gave `between`, too: (filter gradient, bias gradient or None).

        Writes dx, dgamma and dbeta where these are not None. NotImplemented as above."""
        cdef Floats weights = Floats(filters)
        cdef Tensor inputs = Tensor(x)
        cdef Tensor read = Tensor(between)
        cdef Tensor slopes = Tensor(dy)
        cdef Tensor outputs = None
        cdef const dwconv_tensor *into = NULL
        cdef Channels factors = Channels(gamma, self.desc.channels, 0)
        cdef Channels offsets = Channels(beta, self.desc.channels, 0)
        cdef Channels means = Channels(mean, self.desc.channels, 0)
        cdef Channels variances = Channels(variance, self.desc.channels, 0)
        cdef Channels to_gamma = Channels(dgamma, self.desc.channels, PyBUF_WRITABLE)
        cdef Channels to_beta = Channels(dbeta, self.desc.channels, PyBUF_WRITABLE)
        bias = empty(conv.desc.out_channels, float32) if with_bias else None
        cdef Channels to_bias = Channels(bias, conv.desc.out_channels, PyBUF_WRITABLE)
        gradient = empty(conv.filter_shape, float32)
        cdef Floats to_filter = Floats(gradient, PyBUF_WRITABLE)
        cdef dwconv_normalization_desc norm
        cdef dwconv_threads workers = team_of(threads)
        cdef size_t bytes = 0
        cdef dwconv_status status
        if self.plain or conv.plain or not inputs.held or not read.held or not slopes.held:
            return NotImplemented
        if dx is not None:
            outputs = Tensor(dx, PyBUF_WRITABLE)
            if not outputs.held:
                return NotImplemented
            into = &outputs.tensor
        memset(&norm, 0, sizeof(norm))
        norm.size, norm.desc, norm.x = sizeof(norm), &self.desc, &read.tensor
        norm.gamma, norm.beta = factors.data, offsets.data
        norm.mean, norm.variance = means.data, variances.data
        norm.dgamma, norm.dbeta = to_gamma.data, to_beta.data
        conv.ask("normalized", workers.count, &bytes)
        cdef Scratch scratch = scratch_of_thread(bytes)
        with nogil:
            status = dwconv_normalized_gradients(
                &conv.desc, <const float *>weights.view.buf, &inputs.tensor, &norm, &slopes.tensor, into,
                <float *>to_filter.view.buf, to_bias.data, scratch.aligned, bytes, &workers
            )
        if status != DWCONV_OK:
            raise error_of(status, conv.name)
        return gradient, bias


cdef class Channels:
    """A float32 for every channel, held in place for as long as this lives; None: NULL."""

    cdef Floats floats
    cdef float *data

    def __cinit__(self, array, int64_t channels, int flags):
        self.data = NULL
        if array is None:
            return
        self.floats = Floats(array, flags)
        if self.floats.view.len != channels * <Py_ssize_t>sizeof(float):
            raise ValueError("one value for each channel is needed")
        self.data = <float *>self.floats.view.buf
