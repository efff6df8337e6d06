/* Memory between two inaccessible pages. */
#ifndef GUARDED_H
#define GUARDED_H

#include <stddef.h>

typedef struct guarded {
    unsigned char *pages;
    size_t total, bytes, slack;
    void *data;
} guarded;

/* `bytes` flush against the second page or against the first one, up to the alignment: what alignment leaves between
 * them is filled with 0x5a. */
guarded guarded_create(size_t bytes, int at_end, size_t alignment);
int guarded_slack_intact(const guarded *g);
void guarded_make_read_only(guarded *g);
void guarded_free(guarded *g);

#endif
