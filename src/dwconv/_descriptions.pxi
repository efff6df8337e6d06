# Operations for the C core: included by _core.pyx.


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
QUANT_ROUNDINGS = {"even": DWCONV_ROUND_EVEN, "tflite": DWCONV_ROUND_TFLITE}
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


cdef class Contiguous:
    """The same of a dtype of tensors."""

    cdef Py_buffer view

    def __cinit__(self, array, int dtype, int flags):
        PyObject_GetBuffer(array, &self.view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | flags)
        if not has_dtype(&self.view, <dwconv_dtype>dtype):
            raise TypeError("arrays must have the dtype of their tensors")

    def __dealloc__(self):
        PyBuffer_Release(&self.view)


cdef class Held:
    """A contiguous array of whatever dtype, likewise."""

    cdef Py_buffer view

    def __cinit__(self, array):
        PyObject_GetBuffer(array, &self.view, PyBUF_C_CONTIGUOUS)

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
        if operation.quantization is not None:
            self.quantize(operation.quantization)
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

    cdef int quantize(self, quantization) except -1:
        self.desc.dtype = <dwconv_dtype><int>DTYPES[quantization.dtype.char]
        self.desc.rounding = <dwconv_quant_rounding><int>QUANT_ROUNDINGS[quantization.rounding]
        describe_quant(&self.desc.input, quantization.input)
        describe_quant(&self.desc.sum, quantization.sum)
        gate = quantization.gate
        if gate is not None:
            describe_quant(&self.desc.mean, gate.mean)
            describe_quant(&self.desc.scaled, gate.scaled)
            if gate.product == "float":
                self.desc.product = DWCONV_FLOAT_FORMULA
        if quantization.float_output:
            self.desc.flags |= DWCONV_FLOAT_OUTPUT
        return 0

    cdef const void *held(self, array) except? NULL:
        """The elements of an array, whose dtype was checked before."""
        if array is None:
            return NULL
        cdef Held held = Held(array)
        self.arrays.append(held)
        return held.view.buf

    cdef const void *numbers(self, array, stage) except? NULL:
        """Of filters and biases."""
        if array is None or stage.quantization is not None:
            return self.held(array)
        cdef Floats held = Floats(array)
        self.arrays.append(held)
        return held.view.buf

    cdef const dwconv_conv_desc *part(self, dwconv_conv_desc *desc, stage) except NULL:
        memset(desc, 0, sizeof(desc[0]))
        desc.size = sizeof(desc[0])
        desc.in_channels, desc.out_channels = stage.in_channels, stage.out_channels
        desc.groups = stage.in_channels if stage.kind == "depthwise" else stage.groups
        desc.bias = self.numbers(stage.bias, stage)
        describe_window(&desc.window, stage.window)
        desc.activation.kind = <dwconv_activation_kind><int>ACTIVATIONS[stage.activation.kind]
        desc.activation.a, desc.activation.b = stage.activation.a, stage.activation.b
        quantization = stage.quantization
        if quantization is None:
            desc.filter = self.numbers(stage.filters, stage)
        else:
            filters, zeros = stage.byte_filters()
            desc.filter = self.held(filters)
            desc.filter_dtype = <dwconv_dtype><int>DTYPES[filters.dtype.char]
            desc.filter_zero_point = <const int32_t *>self.held(zeros)
            desc.filter_zero_points = 0 if zeros is None else zeros.size
            desc.filter_scale = <const float *>self.held(quantization.filter_scale)
            desc.filter_scales = quantization.filter_scale.size
            describe_quant(&desc.output, quantization.output)
            describe_quant(&desc.activation_input, quantization.activation_input)
            desc.table = <const uint8_t *>self.held(quantization.table)
            if quantization.clamp is not None:
                desc.low, desc.high = quantization.clamp
        return desc


cdef int describe_quant(dwconv_quant *desc, quantization) except -1:
    if quantization is not None:
        desc.scale, desc.zero_point = quantization
    return 0


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
