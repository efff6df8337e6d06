/* The smallest test framework that reports where and in which case something went wrong. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>

extern int checks_passed, checks_failed;
extern char check_context[512]; /* printed with every failure: the case under test */
extern int statuses_seen[];     /* how often CHECK_STATUS found each */

#define CONTEXT(...) snprintf(check_context, sizeof check_context, __VA_ARGS__)

#define CHECK(condition)                                                                       \
    do {                                                                                       \
        if (condition) {                                                                       \
            checks_passed++;                                                                   \
        } else if (checks_failed++ < 40) {                                                     \
            printf("not ok: %s:%d: %s [%s]\n", __FILE__, __LINE__, #condition, check_context); \
        }                                                                                      \
    } while (0)

/* For statuses: names both. */
#define CHECK_STATUS(expected, call)                                                                         \
    do {                                                                                                     \
        const dwconv_status check_expected = (expected), check_found = (call);                               \
        if (check_expected == check_found) {                                                                 \
            checks_passed++;                                                                                 \
            statuses_seen[check_found]++;                                                                    \
        } else if (checks_failed++ < 40) {                                                                   \
            printf("not ok: %s:%d: %s: expected status %d, found %d (%s) [%s]\n", __FILE__, __LINE__, #call, \
                   (int)check_expected, (int)check_found, dwconv_status_string(check_found), check_context); \
        }                                                                                                    \
    } while (0)

#endif
