/* Networks under construction, and an oracle that follows a run node by node. */
#ifndef NET_H
#define NET_H

#include "../../csrc/dwconv_network.h"
#include "problem.h"

enum { NET_VALUES = 96, NET_NODES = 64, NET_BLOCKS = 128 };

typedef struct net {
    dwconv_value values[NET_VALUES];
    dwconv_node nodes[NET_NODES];
    int value_count, node_count;
    dwconv_desc operations[NET_NODES];
    dwconv_conv_desc parts[NET_NODES][3];
    void *memory[NET_BLOCKS]; /* of constants, weights and indices */
    int memory_count;
} net;

void net_free(net *n);
dwconv_network_desc net_desc(const net *n, const char *isa, int threads);

/* All return the index of a value. */
int net_value(net *n, dwconv_storage storage, int rank, const int64_t *sizes);
int net_constant(net *n, int rank, const int64_t *sizes, rng *r);
int net_view(net *n, int base, int rank, const int64_t *sizes, const int64_t *strides, int64_t offset);
/* Appends a node of a kind; the caller fills in the rest. */
dwconv_node *net_node(net *n, dwconv_node_kind kind, int output, int input0, int input1);

int64_t net_elements(const dwconv_value *v);
size_t net_bytes(const net *n, int value);
int net_root(const net *n, int value); /* the value whose memory it has */
/* Of a view its own, of others those of contiguous memory. */
void net_strides(const net *n, int value, int64_t strides[DWCONV_MAX_RANK]);

/* A random network of up to `steps` steps, with values of about so many elements. */
void net_random(net *n, rng *r, int steps, int64_t elements);

/* ---- running ------------------------------------------------------------------------------- */

typedef struct net_run {
    const net *n;
    dwconv_network *network;
    void *inputs[NET_VALUES], *outputs[NET_VALUES];
    char *workspace;
    float *at[NET_VALUES];     /* where each value that is no view lies; NULL: it has no place */
    float *shadow[NET_VALUES]; /* what the oracle knows to be there */
    int node;                  /* to be done next */
    int wrong;                 /* nodes whose result is not the oracle's */
} net_run;

/* With random inputs; `network` is taken over. */
void net_run_create(net_run *run, const net *n, dwconv_network *network, rng *r);
void net_run_free(net_run *run);
/* Follows a run as its `done`: compares what every node gave with plain loops. */
void net_follow(void *run, int32_t node);
/* Writes this byte to the whole workspace and all outputs. */
void net_poison(net_run *run, int byte);
dwconv_status net_run_once(net_run *run, const dwconv_threads *threads, dwconv_node_done done);

#endif
