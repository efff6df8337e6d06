/* The linker sends every allocation of the tests and of the core here (--wrap), where it is counted, or refused. */
#ifndef ALLOCATOR_H
#define ALLOCATOR_H

long allocator_calls(void);        /* of all functions, since the program began */
long allocator_outstanding(void);  /* blocks that were not freed yet */
void allocator_refuse(int refuse); /* from now on there is no memory */

#endif
