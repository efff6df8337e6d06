/* What a node of each kind is checked and run by. */
#include "network.h"

/* By kind, for bytes and for all else. */
static const dwc_node_class *const byte_classes[DWCONV_NODE_KIND_COUNT] = {
    [DWCONV_CONVOLUTION] = &dwc_class_convolution,
    [DWCONV_COPY] = &dwc_class_copy,
    [DWCONV_FILL] = &dwc_class_fill,
    [DWCONV_GATHER] = &dwc_class_gather,
    [DWCONV_QUANTIZE] = &dwc_class_quantize,
    [DWCONV_DEQUANTIZE] = &dwc_class_dequantize,
    [DWCONV_LOOKUP] = &dwc_class_lookup,
    [DWCONV_BINARY] = &dwc_class_byte_binary,
    [DWCONV_POOL] = &dwc_class_byte_pool,
    [DWCONV_RESIZE] = &dwc_class_byte_resize,
    [DWCONV_REDUCE] = &dwc_class_byte_reduce,
    [DWCONV_SOFTMAX] = &dwc_class_byte_softmax,
};
static const dwc_node_class *const classes[DWCONV_NODE_KIND_COUNT] = {
    [DWCONV_CONVOLUTION] = &dwc_class_convolution,
    [DWCONV_COPY] = &dwc_class_copy,
    [DWCONV_FILL] = &dwc_class_fill,
    [DWCONV_UNARY] = &dwc_class_unary,
    [DWCONV_BINARY] = &dwc_class_binary,
    [DWCONV_GATHER] = &dwc_class_gather,
    [DWCONV_REDUCE] = &dwc_class_reduce,
    [DWCONV_POOL] = &dwc_class_pool,
    [DWCONV_RESIZE] = &dwc_class_resize,
    [DWCONV_SOFTMAX] = &dwc_class_softmax,
    [DWCONV_LAYER_NORM] = &dwc_class_layer_norm,
    [DWCONV_MATMUL] = &dwc_class_matmul,
    [DWCONV_DEQUANTIZE] = &dwc_class_dequantize, /* of words */
};

const dwc_node_class *dwc_node_class_of(dwconv_node_kind kind, int bytes) {
    return bytes ? byte_classes[kind] : classes[kind];
}
