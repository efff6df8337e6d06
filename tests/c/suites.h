#ifndef SUITES_H
#define SUITES_H

void test_accuracy(void);
void test_fuzz(void);
void test_few_channels(void);
void test_guard_pages(void);
void test_allocation(void);
void test_machines(void);
void test_threads(void);
void test_pool(void);
void test_statuses(void);
void test_lifecycle(void);
void test_budget(void);
void test_network(void);
void test_network_statuses(void);
void test_arena(void);
void test_nodes(void);
void test_node_numbers(void);
void test_network_reference(void);
void test_gradients(void);
void test_normalized_gradients(void);
void test_batch_norm(void);
void test_quantized(void);
void test_quantization_statuses(void); /* part of statuses */
void test_s8(void);
void test_bytes(void);
void test_bytes_refused(void);

#endif
