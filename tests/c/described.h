/* Descriptors of each kind, for tests of what is wrong with them and with their tensors. */
#ifndef DESCRIBED_H
#define DESCRIBED_H

#include "../../csrc/dwconv.h"

/* The parts of the descriptor that was made last. */
extern struct parts {
    dwconv_conv_desc expand, conv, squeeze, excite, project;
} part;

extern float weights[4096], data_in[4096], data_out[4096];

dwconv_desc depthwise(void); /* 3x3, of 4 channels */
dwconv_desc dense(void);     /* 3x3, from 4 to 6 channels */
dwconv_desc pointwise(void);
dwconv_desc separable(void);
dwconv_desc block(void); /* with everything that a block may have */

/* Of depthwise(): data_in, and data_out. */
dwconv_tensor in_8x8(void);
dwconv_tensor out_6x6(void);

void test_descriptors(void); /* the first part of the suite "statuses" */

#endif
