/* Networks made of the bytes of the fuzzer: mostly right, sometimes with a field that is not. */
#ifndef FUZZ_NETWORK_INPUT_H
#define FUZZ_NETWORK_INPUT_H

#include "../../../csrc/dwconv_network.h"
#include "input.h"

enum { MAX_VALUES = 40, MAX_NODES = 12, MAX_BLOCKS = 80, MAX_VALUE_FLOATS = 1 << 14 };

typedef struct network_input {
    dwconv_network_desc desc;
    dwconv_value values[MAX_VALUES];
    dwconv_node nodes[MAX_NODES];
    int value_count, node_count;
    dwconv_desc operations[MAX_NODES];
    dwconv_conv_desc parts[MAX_NODES][3];
    void *memory[MAX_BLOCKS];
    int memory_count;
    double bound[MAX_VALUES]; /* of magnitudes in a value, none of which was rounded; infinite: some may be */
    int vast;                 /* some value is larger than the fuzzer affords: it must not run */
} network_input;

void network_input_read(network_input *in, reader *r);
void network_input_free(network_input *in);
int64_t value_floats(
    const dwconv_value *v); /* of a value that is no view; -1: more than the fuzzer affords */

#endif
