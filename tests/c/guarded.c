/* See guarded.h. */
#include "guarded.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

guarded guarded_create(size_t bytes, int at_end, size_t alignment) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t inner = (bytes + page - 1) / page * page;
    guarded g = {.total = inner + 2 * page};
    g.pages = mmap(NULL, g.total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g.pages == MAP_FAILED || (inner && mprotect(g.pages + page, inner, PROT_READ | PROT_WRITE) != 0))
        abort();
    g.data = g.pages + page + (at_end ? (inner - bytes) / alignment * alignment : 0);
    g.slack = at_end ? inner - bytes - ((inner - bytes) / alignment * alignment) : 0;
    memset((unsigned char *)g.data + bytes, 0x5a, g.slack);
    g.bytes = bytes;
    return g;
}

int guarded_slack_intact(const guarded *g) {
    for (size_t i = 0; i < g->slack; i++)
        if (((unsigned char *)g->data)[g->bytes + i] != 0x5a) return 0;
    return 1;
}

void guarded_make_read_only(guarded *g) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (g->total > 2 * page && mprotect(g->pages + page, g->total - 2 * page, PROT_READ) != 0) abort();
}

void guarded_free(guarded *g) { munmap(g->pages, g->total); }
