/* See pool.h. */
#include "pool.h"

static void take_items(pool *p, int worker) {
    long long item;
    while ((item = atomic_fetch_add(&p->next, 1)) < p->items) p->task(p->context, item, worker);
}

static void *work(void *argument) {
    pool_worker *self = argument;
    pool *p = self->owner;
    unsigned long seen = 0;
    for (;;) {
        pthread_mutex_lock(&p->lock);
        while (p->round == seen && !p->stop) pthread_cond_wait(&p->begin, &p->lock);
        const int stop = p->stop;
        seen = p->round;
        pthread_mutex_unlock(&p->lock);
        if (stop) return NULL;
        take_items(p, self->index);
        pthread_mutex_lock(&p->lock);
        if (--p->busy == 0) pthread_cond_signal(&p->end);
        pthread_mutex_unlock(&p->lock);
    }
}

/* Returns after the last task has: that is the contract of dwconv_parallel_for. */
static void parallel_for(void *pool_pointer, int64_t items, dwconv_task task, void *context) {
    pool *p = pool_pointer;
    pthread_mutex_lock(&p->lock);
    p->task = task;
    p->context = context;
    p->items = items;
    atomic_store(&p->next, 0);
    p->busy = p->count - 1;
    p->round++;
    pthread_cond_broadcast(&p->begin);
    pthread_mutex_unlock(&p->lock);
    take_items(p, 0);
    pthread_mutex_lock(&p->lock);
    while (p->busy > 0) pthread_cond_wait(&p->end, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

int pool_start(pool *p, int count) {
    if (count < 1 || count > POOL_MAX) return 1;
    *p = (pool){.count = 1};
    if (pthread_mutex_init(&p->lock, NULL) || pthread_cond_init(&p->begin, NULL) ||
        pthread_cond_init(&p->end, NULL))
        return 1;
    for (int i = 1; i < count; i++) {
        p->workers[i].owner = p;
        p->workers[i].index = i;
        if (pthread_create(&p->workers[i].thread, NULL, work, &p->workers[i])) {
            pool_stop(p);
            return 1;
        }
        p->count = i + 1;
    }
    return 0;
}

void pool_stop(pool *p) {
    pthread_mutex_lock(&p->lock);
    p->stop = 1;
    pthread_cond_broadcast(&p->begin);
    pthread_mutex_unlock(&p->lock);
    for (int i = 1; i < p->count; i++) pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->begin);
    pthread_cond_destroy(&p->end);
    pthread_mutex_destroy(&p->lock);
}

dwconv_threads pool_threads(pool *p) {
    return (dwconv_threads){.count = p->count, .run = parallel_for, .pool = p};
}
