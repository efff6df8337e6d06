/* How the nodes of a network run that are no convolutions: see schedule.h. */
#ifndef DWCONV_SCHEDULE_NODES_H
#define DWCONV_SCHEDULE_NODES_H

#include "../dwconv_network.h"
#include "schedule.h"

/* Equal pieces of work, the last one perhaps smaller, of so many units (rows of an image, say) each. */
typedef struct dwc_items {
    int workers;
    int seats; /* for which scratch is made: no fewer than workers, whoever they are, with as many threads or fewer */
    int64_t units, size, count;
} dwc_items;

/* Pooling. Units are rows of all images. */
typedef struct dwc_pool_schedule {
    dwc_items items;
    int columns_first;     /* taps below each other are joined for a whole row of the image, in scratch */
    int64_t worker_floats; /* of it */
    int lanes;             /* of a vector: fewer channels are read and stored as one, where there is room */
} dwc_pool_schedule;
DWC_HIDDEN dwc_pool_schedule dwc_schedule_pool(const dwc_kernel_table *table, const dwconv_node *node,
                                               const dwc_view *x, const dwc_view *y,
                                               const dwconv_threads *threads);

/* Resizing. Units are rows of all images. */
typedef struct dwc_resize_schedule {
    dwc_items items;
    int rows_first;        /* bilinear: two rows are blended first, in scratch */
    int64_t worker_floats; /* of it */
    int lanes;             /* of a vector: fewer channels are read and stored as one, where there is room */
} dwc_resize_schedule;
DWC_HIDDEN dwc_resize_schedule dwc_schedule_resize(const dwc_kernel_table *table, const dwconv_node *node,
                                                   const dwc_view *x, const dwc_view *y,
                                                   const dwconv_threads *threads);

/* Reductions of `taken` values to each of `given` ones. Units are results, or lines of them, where a result has many
 * channels that are computed together. */
DWC_HIDDEN dwc_items dwc_schedule_reduce(const dwconv_threads *threads, int64_t results, int64_t channels,
                                         double taken);

/* Softmax and layer normalisation. Units are rows of `count` numbers. */
DWC_HIDDEN dwc_items dwc_schedule_softmax(const dwconv_threads *threads, int64_t rows, int64_t count);
DWC_HIDDEN dwc_items dwc_schedule_layer_norm(const dwconv_threads *threads, int64_t rows, int64_t count);

/* The same on 8-bit integers; units of images are rows of all of them. */
DWC_HIDDEN double dwc_byte_nanoseconds(const dwconv_node *node, dwconv_quant_rounding rounding,
                                       double elements);
DWC_HIDDEN dwc_items dwc_schedule_byte_pool(const dwconv_window *window, const dwc_view *y,
                                            const dwconv_threads *threads);
/* Bilinear: rows are joined first, whole, or only the pixels that outputs see, where these are few. */
typedef struct dwc_byte_resize_schedule {
    dwc_items items;
    int whole_rows;
    int64_t worker_ints; /* of scratch */
} dwc_byte_resize_schedule;
DWC_HIDDEN dwc_byte_resize_schedule dwc_schedule_byte_resize(const dwconv_node *node, const dwc_view *x,
                                                             const dwc_view *y,
                                                             const dwconv_threads *threads);

/* Products of two activations. The second factor is packed into panels: by the worker who needs it next, or, where
 * there are few different ones, all of them by all workers before the first product. */
typedef struct dwc_products_problem {
    int64_t products, factors; /* how many, and of how many different second factors */
    int64_t m, k, n, padded;   /* padded: n as it is packed */
} dwc_products_problem;

typedef struct dwc_products_schedule {
    int shared;         /* panels are */
    int64_t panels;     /* floats of a packed factor, whole cache lines */
    int64_t copies;     /* of packed factors, for which scratch is made */
    int64_t block_rows; /* rows of a product that are copied at a time, where that is needed */
    int64_t runs;       /* of products, where panels are a worker's own: at most so many items */
    dwc_items rows;     /* of one product, where they are shared; workers and seats are those of all */
} dwc_products_schedule;
DWC_HIDDEN dwc_products_schedule dwc_schedule_products(const dwc_products_problem *p,
                                                       const dwconv_threads *threads);

#endif
