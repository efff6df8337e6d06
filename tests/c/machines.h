/* Caches that are made up: tests/c/test_machines.c. */
#ifndef MACHINES_H
#define MACHINES_H

#include "../../csrc/schedule/machine.h"

extern const dwc_machine *made_up; /* NULL: the caches are this machine's */

#endif
