# Networks: the part of _core.pyx that knows dwconv_network.h. A program (`dwconv.program`) in, runs out.

# ---- descriptions -----------------------------------------------------------------------------

cdef class Indices:
    """A contiguous int32 array, held in place for as long as this lives."""

    cdef Py_buffer view

    def __cinit__(self, array):
        PyObject_GetBuffer(array, &self.view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
        if self.view.itemsize != sizeof(int32_t) or self.view.format[0] not in b"il":
            raise TypeError("indices must be int32")

    def __dealloc__(self):
        PyBuffer_Release(&self.view)


cdef class NetworkDescription:
    """A dwconv_network_desc and what it points to. `held` is what a network reads when it runs."""

    cdef dwconv_network_desc desc
    cdef dwconv_value *values
    cdef dwconv_node *nodes
    cdef list descriptions, held

    def __cinit__(self, program):
        memset(&self.desc, 0, sizeof(self.desc))
        self.descriptions, self.held = [], []
        self.desc.size = sizeof(self.desc)
        self.desc.value_size, self.desc.node_size = sizeof(dwconv_value), sizeof(dwconv_node)
        self.desc.value_count, self.desc.node_count = len(program.tensors), len(program.steps)
        self.values = <dwconv_value *>PyMem_RawCalloc(len(program.tensors) + 1, sizeof(dwconv_value))
        self.nodes = <dwconv_node *>PyMem_RawCalloc(len(program.steps) + 1, sizeof(dwconv_node))
        if self.values == NULL or self.nodes == NULL:
            raise MemoryError("the description of a network")
        self.desc.values, self.desc.nodes = self.values, self.nodes
        self.desc.quant_rounding = <dwconv_quant_rounding><int>QUANT_ROUNDINGS[program.rounding]
        for index, tensor in enumerate(program.tensors):
            self.describe_value(&self.values[<size_t>index], tensor)
        for index, step in enumerate(program.steps):
            self.describe_node(&self.nodes[<size_t>index], step)

    def __dealloc__(self):
        PyMem_RawFree(self.values)
        PyMem_RawFree(self.nodes)

    cdef int describe_value(self, dwconv_value *value, tensor) except -1:
        cdef Held held
        view = tensor.view
        if len(view.shape) > DWCONV_MAX_RANK:
            raise ValueError(f"network: {tensor.name!r} has more than {DWCONV_MAX_RANK} axes: {view.shape}")
        value.storage = <dwconv_storage><int>STORAGES[tensor.storage]
        value.dtype = <dwconv_dtype><int>VALUE_DTYPES[tensor.dtype.name]
        if tensor.quantization is not None:
            value.scale, value.zero_point = tensor.quantization.scale, tensor.quantization.zero_point
        value.rank = len(view.shape)
        for axis, (size, stride) in enumerate(zip(view.shape, view.strides, strict=True)):
            value.shape[<size_t>axis], value.strides[<size_t>axis] = size, stride
        value.base, value.offset = tensor.base, view.offset
        if tensor.data is not None:
            held = Held(tensor.data)
            if tensor.data.dtype != tensor.dtype or held.view.len != <Py_ssize_t>tensor.nbytes:
                raise ValueError(f"network: constant {tensor.name!r} is not {tensor.dtype} {view.shape}")
            self.held.append(held)
            value.data = held.view.buf
        return 0

    cdef int describe_node(self, dwconv_node *node, step) except -1:
        cdef Description operation
        cdef Indices indices
        node.kind = <dwconv_node_kind><int>KINDS[step.kind]
        node.function = <dwconv_function><int>FUNCTIONS[step.function]
        if len(step.inputs) > DWCONV_NODE_INPUTS or len(step.parameters) > 4:
            raise ValueError(f"network: {step.kind} with {len(step.inputs)} inputs")
        for index, tensor in enumerate(step.inputs):
            node.inputs[<size_t>index] = tensor
        for index, parameter in enumerate(step.parameters):
            node.parameters[<size_t>index] = parameter
        node.output, node.axis = step.output, step.axis
        node.activation.kind = <dwconv_activation_kind><int>ACTIVATIONS[step.activation.kind]
        node.activation.a, node.activation.b = step.activation.a, step.activation.b
        node.counts_padding = step.counts_padding
        node.coordinates = <dwconv_coordinates><int>COORDINATES[step.coordinates]
        node.rounding = <dwconv_rounding><int>ROUNDINGS[step.rounding]
        node.low, node.high = step.clamp
        node.formula = <dwconv_formula><int>FORMULAS[step.formula]
        if step.operation is not None:
            operation = Description(step.operation)
            self.descriptions.append(operation)
            node.operation = &operation.desc
        if step.window is not None:
            describe_window(&node.window, step.window)
        if step.indices is not None:
            indices = Indices(step.indices)
            self.held.append(indices)
            node.indices, node.index_count = <const int32_t *>indices.view.buf, len(step.indices)
        return 0


# ---- memory -----------------------------------------------------------------------------------

cdef class Workspaces:
    """Memory of runs: as many pieces as there were runs at once, each as large as the largest of them needed.

    Networks may share one. It frees its memory when the last of them ends.
    """

    cdef list idle

    def __cinit__(self):
        self.idle = []

    cdef Scratch take(self, size_t bytes):
        cdef Scratch scratch
        try:
            scratch = self.idle.pop()  # the one used last: it is in the caches
        except IndexError:
            scratch = Scratch()
        scratch.reserve(bytes)
        return scratch

    cdef int give_back(self, Scratch scratch) except -1:
        self.idle.append(scratch)
        return 0


cdef class State:
    """Memory of one stream: see `Network.new_state`."""

    cdef Scratch memory

    def __cinit__(self, size_t bytes):
        self.memory = Scratch()
        self.memory.reserve(bytes)


def writable(array):
    """A contiguous array for `Network.run`, whose buffer is asked for once: that takes time."""
    return Contiguous(array, VALUE_DTYPES[array.dtype.name], PyBUF_WRITABLE)


# ---- networks ---------------------------------------------------------------------------------

cdef struct Profile:
    int64_t *times
    int64_t last


cdef int64_t nanoseconds() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


cdef void record(void *context, int32_t node) noexcept nogil:
    cdef Profile *profile = <Profile *>context
    cdef int64_t now = nanoseconds()
    profile.times[node] = now - profile.last
    profile.last = now


cdef class Network:
    """A program with its weights packed for one instruction set and at most `threads` threads; never changes.

    Any number of threads may run it at the same time, each in a workspace of its own.
    """

    cdef dwconv_network *network
    cdef object program
    cdef list held, input_bytes, output_bytes
    cdef list input_dtypes, output_dtypes
    cdef Workspaces workspaces

    def __cinit__(self, program, str isa, int threads=1, Workspaces workspaces=None):
        cdef NetworkDescription description = NetworkDescription(program)
        cdef bytes name = isa.encode()
        cdef dwconv_status status
        cdef int bad_node = -1
        self.program, self.held = program, description.held
        self.workspaces = Workspaces() if workspaces is None else workspaces
        (self.input_bytes, self.input_dtypes), (self.output_bytes, self.output_dtypes) = (
            self.of_storage(storage) for storage in ("input", "output")
        )
        description.desc.isa, description.desc.threads = name, threads
        with nogil:
            status = dwconv_network_create(&description.desc, &self.network, &bad_node)
        if status != DWCONV_OK:
            raise error_of(status, self.label(bad_node))

    def __dealloc__(self):
        dwconv_network_destroy(self.network)

    cdef tuple of_storage(self, str storage):
        """Bytes and dtypes of the caller's tensors."""
        found = [tensor for tensor in self.program.tensors if tensor.storage == storage]
        return [tensor.nbytes for tensor in found], [VALUE_DTYPES[tensor.dtype.name] for tensor in found]

    cdef str label(self, int node):
        if node < 0:
            return "network"
        step = self.program.steps[node]
        label = f"network: step {node}, {step.kind}"
        if step.source is not None:
            label += f" of {step.source.op} {step.source.name or step.source.output!r}"
        return label

    @property
    def nbytes(self):
        return dwconv_network_bytes(self.network)

    @property
    def workspace_bytes(self):
        return dwconv_network_workspace(self.network)

    @property
    def state_bytes(self):
        """Of one stream."""
        return dwconv_network_state_bytes(self.network)

    def new_state(self):
        """What a stream begins with: memory that runs read and write."""
        cdef State state = State(dwconv_network_state_bytes(self.network))
        self.reset(state)
        return state

    def reset(self, State state not None):
        """Makes a state what a stream begins with."""
        cdef dwconv_status status = dwconv_network_reset(
            self.network, state.memory.aligned, state.memory.bytes
        )
        if status != DWCONV_OK:
            raise error_of(status, "network")

    @property
    def lower_bound(self):
        return dwconv_network_lower_bound(self.network)

    @property
    def offsets(self):
        """By tensor, the byte of the workspace where it begins; -1: it is elsewhere."""
        return [dwconv_network_offset(self.network, index) for index in range(len(self.program.tensors))]

    def explain(self, int step):
        """What runs a step, and on how many threads."""
        return json.loads(self.explained(DWCONV_JSON, step))

    def explain_text(self, int step):
        """The same as lines of "label: value"."""
        return self.explained(DWCONV_TEXT, step)

    cdef str explained(self, dwconv_format format, int step):
        cdef size_t needed
        cdef bytearray text
        cdef dwconv_status status = dwconv_network_explain(self.network, step, format, NULL, 0, &needed)
        if status != DWCONV_OK:
            raise error_of(status, "network")
        text = bytearray(needed)
        dwconv_network_explain(self.network, step, format, text, needed, NULL)
        return text[: needed - 1].decode()

    def run(self, inputs, outputs, int threads=1, State state=None):
        """Computes `outputs` from `inputs`: contiguous arrays of the dtypes of the program and in its order,
        apart from each other, or what `writable` made of some. `state`: of this network; one run at a time
        has it."""
        self.execute(inputs, outputs, threads, state, NULL)

    def profile(self, inputs, outputs, int threads=1, State state=None):
        """The same, and the nanoseconds of every step."""
        cdef size_t count = len(self.program.steps)
        cdef Profile profile
        profile.times = <int64_t *>PyMem_RawCalloc(count + 1, sizeof(int64_t))
        if profile.times == NULL:
            raise MemoryError("the times of a network")
        try:
            self.execute(inputs, outputs, threads, state, &profile)
            return [profile.times[index] for index in range(count)]
        finally:
            PyMem_RawFree(profile.times)

    cdef int execute(self, inputs, outputs, int threads, State state, Profile *profile) except -1:
        """Pointers and buffers lie behind the workspace, so that nothing is allocated."""
        cdef size_t first = len(self.input_bytes), count = first + len(self.output_bytes)
        cdef size_t bytes = dwconv_network_workspace(self.network), held = 0
        cdef void *kept = NULL
        cdef size_t kept_bytes = 0
        cdef Scratch scratch
        cdef dwconv_status status
        cdef dwconv_node_done done = NULL
        cdef dwconv_threads workers
        memset(&workers, 0, sizeof(workers))
        workers.count = threads
        if state is not None:
            kept, kept_bytes = state.memory.aligned, state.memory.bytes
        if profile != NULL:
            done = record
        bytes = (bytes + DWCONV_ALIGNMENT - 1) // DWCONV_ALIGNMENT * DWCONV_ALIGNMENT
        scratch = self.workspaces.take(bytes + count * (sizeof(void *) + sizeof(Py_buffer)))
        cdef void **x = <void **>(<char *>scratch.aligned + bytes)
        cdef void **y = x + first
        cdef Py_buffer *views = <Py_buffer *>(x + count)
        try:
            self.hold("input", inputs, self.input_bytes, self.input_dtypes, 0, x, views, &held)
            self.hold(
                "output", outputs, self.output_bytes, self.output_dtypes, PyBUF_WRITABLE, y, views, &held
            )
            with nogil:
                if profile != NULL:
                    profile.last = nanoseconds()
                status = dwconv_network_run(
                    self.network,
                    <const void *const *>x,
                    y,
                    kept,
                    kept_bytes,
                    scratch.aligned,
                    bytes,
                    &workers,
                    done,
                    profile,
                )
        finally:
            while held > 0:
                held -= 1
                PyBuffer_Release(&views[held])
            self.workspaces.give_back(scratch)
        if status != DWCONV_OK:
            raise error_of(status, "network")
        return 0

    cdef int hold(
        self,
        str role,
        arrays,
        list expected,
        list dtypes,
        int flags,
        void **data,
        Py_buffer *views,
        size_t *held,
    ) except -1:
        """The addresses of `arrays`; what must be released later is appended to the buffers."""
        cdef Py_buffer *view
        cdef Py_ssize_t count = len(expected), index
        if len(arrays) != count:
            raise ValueError(f"network: {count} {role}s are needed, not {len(arrays)}")
        for index in range(count):
            array = arrays[index]
            if type(array) is Contiguous:
                view = &(<Contiguous>array).view
            else:
                view = &views[held[0]]
                PyObject_GetBuffer(array, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | flags)
                held[0] += 1
            if not has_dtype(view, <dwconv_dtype><int>dtypes[index]):
                raise TypeError("arrays must have the dtype of their tensors")
            if view.len != <Py_ssize_t>expected[index]:
                raise ValueError(f"network: {role} {index} needs {expected[index]} bytes, not {view.len}")
            data[index] = view.buf
        return 0
