/* See allocator.h. */
#include "allocator.h"

#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>

static atomic_long calls, outstanding;
static atomic_int refusing;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
int __real_posix_memalign(void **memory, size_t alignment, size_t size);
void __real_free(void *memory);
void *__real_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t size);
void __wrap_free(void *memory);
void *__wrap_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset);

static void *counted(void *memory) {
    if (memory) outstanding++;
    return memory;
}

static int refused(void) {
    calls++;
    return refusing;
}

void *__wrap_malloc(size_t size) { return refused() ? NULL : counted(__real_malloc(size)); }

void *__wrap_calloc(size_t count, size_t size) {
    return refused() ? NULL : counted(__real_calloc(count, size));
}

void *__wrap_realloc(void *memory, size_t size) {
    if (refused()) return NULL;
    void *result = __real_realloc(memory, size);
    if (!memory) counted(result);
    return result;
}

void *__wrap_aligned_alloc(size_t alignment, size_t size) {
    return refused() ? NULL : counted(__real_aligned_alloc(alignment, size));
}

int __wrap_posix_memalign(void **memory, size_t alignment, size_t size) {
    if (refused()) return 1;
    const int result = __real_posix_memalign(memory, alignment, size);
    if (result == 0) counted(*memory);
    return result;
}

void __wrap_free(void *memory) {
    calls++;
    if (memory) outstanding--;
    __real_free(memory);
}

void *__wrap_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset) {
    return refused() ? MAP_FAILED : __real_mmap(address, length, protection, flags, file, offset);
}

long allocator_calls(void) { return calls; }

long allocator_outstanding(void) { return outstanding; }

void allocator_refuse(int refuse) { refusing = refuse; }
