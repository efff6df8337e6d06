/* A small pool of POSIX threads, as a dwconv_parallel_for. */
#ifndef POOL_H
#define POOL_H

#include <pthread.h>
#include <stdatomic.h>

#include "dwconv.h"

enum { POOL_MAX = 16 };

typedef struct pool pool;
typedef struct pool_worker {
    pool *owner;
    int index;
    pthread_t thread;
} pool_worker;

struct pool {
    int count; /* workers, the calling thread among them as worker 0 */
    pthread_mutex_t lock;
    pthread_cond_t begin, end;
    unsigned long round; /* counts the loops; workers wait for the next one */
    int busy, stop;
    dwconv_task task;
    void *context;
    long long items;
    atomic_llong next;
    pool_worker workers[POOL_MAX];
};

/* 1 <= count <= POOL_MAX; 0 on success. The pool must not move while it lives. */
int pool_start(pool *p, int count);
void pool_stop(pool *p);

/* What dwconv_run takes. One caller at a time per pool. */
dwconv_threads pool_threads(pool *p);

#endif
