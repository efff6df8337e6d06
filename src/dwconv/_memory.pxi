# Memory that comes back: part of _core.pyx. For tensors of training, as large in every step as in the last.
#
# The system zeroes the memory that it gives, which takes as long as computing what goes there. What
# nobody uses any more is kept, and given out again where the size is the same.

cdef extern from *:
    """
    #include <pthread.h>
    #include <stdlib.h>
    #include "graph/memory.h"

    typedef struct dwconv_block {
        struct dwconv_block *next;
        size_t bytes;
        void *data;
    } dwconv_block;

    /* What is kept and what is used are never more, together, than what was used at one time. */
    static struct {
        pthread_mutex_t mutex;
        dwconv_block *kept; /* the one that came back last, which the caches may hold, first */
        size_t kept_bytes, used_bytes, most_bytes;
    } dwconv_memory = {PTHREAD_MUTEX_INITIALIZER, NULL, 0, 0, 0};

    static void dwconv_lock_memory(void) { pthread_mutex_lock(&dwconv_memory.mutex); }
    static void dwconv_unlock_memory(void) { pthread_mutex_unlock(&dwconv_memory.mutex); }
    static void dwconv_prepare_memory(void) {
        pthread_atfork(dwconv_lock_memory, dwconv_unlock_memory, dwconv_unlock_memory);
    }

    /* Gives back to the system what was kept longest, until the rest has at most so many bytes. */
    static void dwconv_shrink(size_t bytes) {
        while (dwconv_memory.kept_bytes > bytes) {
            dwconv_block **last = &dwconv_memory.kept;
            while ((*last)->next) last = &(*last)->next;
            dwconv_memory.kept_bytes -= (*last)->bytes;
            free((*last)->data);
            free(*last);
            *last = NULL;
        }
    }

    static dwconv_block *dwconv_take_kept(size_t bytes) {
        for (dwconv_block **at = &dwconv_memory.kept; *at; at = &(*at)->next)
            if ((*at)->bytes == bytes) {
                dwconv_block *found = *at;
                *at = found->next;
                dwconv_memory.kept_bytes -= bytes;
                return found;
            }
        return NULL;
    }

    static dwconv_block *dwconv_make_block(size_t bytes) {
        dwconv_block *block = (dwconv_block *)malloc(sizeof *block);
        void *data = block ? dwc_allocate(bytes) : NULL;
        if (!data) {
            free(block);
            return NULL;
        }
        block->bytes = bytes;
        block->data = data;
        return block;
    }

    /* NULL: there is none. */
    static dwconv_block *dwconv_take(size_t bytes) {
        dwconv_lock_memory();
        dwconv_block *block = dwconv_take_kept(bytes);
        const size_t used = dwconv_memory.used_bytes + bytes;
        if (used > dwconv_memory.most_bytes) dwconv_memory.most_bytes = used;
        dwconv_shrink(dwconv_memory.most_bytes - used);
        if (!block) block = dwconv_make_block(bytes);
        if (block) dwconv_memory.used_bytes = used;
        dwconv_unlock_memory();
        return block;
    }

    static void dwconv_give(dwconv_block *block) {
        dwconv_lock_memory();
        dwconv_memory.used_bytes -= block->bytes;
        dwconv_memory.kept_bytes += block->bytes;
        block->next = dwconv_memory.kept;
        dwconv_memory.kept = block;
        dwconv_unlock_memory();
    }

    static void dwconv_release_kept(void) {
        dwconv_lock_memory();
        dwconv_shrink(0);
        dwconv_memory.most_bytes = dwconv_memory.used_bytes;
        dwconv_unlock_memory();
    }
    static size_t dwconv_bytes_kept(void) {
        dwconv_lock_memory();
        const size_t bytes = dwconv_memory.kept_bytes;
        dwconv_unlock_memory();
        return bytes;
    }
    """
    ctypedef struct dwconv_block:
        size_t bytes
        void *data
    void dwconv_prepare_memory()
    dwconv_block *dwconv_take(size_t bytes)
    void dwconv_give(dwconv_block *block)
    void dwconv_release_kept() nogil
    size_t dwconv_bytes_kept()

dwconv_prepare_memory()


cdef class Memory:
    """So many bytes, as a buffer, from the start of a cache line; they hold anything at first."""

    cdef dwconv_block *block

    def __cinit__(self, size_t bytes):
        self.block = dwconv_take(bytes)
        if self.block == NULL:
            raise MemoryError(f"{bytes} bytes for a tensor")

    def __dealloc__(self):
        if self.block != NULL:
            dwconv_give(self.block)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.block.data, <Py_ssize_t>self.block.bytes, 0, flags)


def release_memory():
    """Gives back to the system what is kept."""
    with nogil:
        dwconv_release_kept()


def kept_memory():
    """Bytes that nobody uses and that are kept."""
    return dwconv_bytes_kept()
