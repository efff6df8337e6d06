/* Tests of the C core. Exit code 0 if every check passed; tests/c/run.sh builds and runs them. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../csrc/dwconv.h"
#include "check.h"
#include "suites.h"

int checks_passed, checks_failed;
char check_context[512];
int statuses_seen[DWCONV_STATUS_COUNT];

static const struct {
    const char *name;
    void (*run)(void);
} suites[] = {
    {"accuracy", test_accuracy},
    {"few_channels", test_few_channels},
    {"fuzz", test_fuzz},
    {"guard_pages", test_guard_pages},
    {"allocation", test_allocation},
    {"machines", test_machines},
    {"threads", test_threads},
    {"pool", test_pool},
    {"statuses", test_statuses},
    {"lifecycle", test_lifecycle},
    {"budget", test_budget},
    {"network", test_network},
    {"network_statuses", test_network_statuses},
    {"arena", test_arena},
    {"nodes", test_nodes},
    {"node_numbers", test_node_numbers},
    {"network_reference", test_network_reference},
    {"gradients", test_gradients},
    {"normalized_gradients", test_normalized_gradients},
    {"batch_norm", test_batch_norm},
    {"quantized", test_quantized},
    {"s8", test_s8},
    {"bytes", test_bytes},
    {"bytes_refused", test_bytes_refused},
};

/* A touched guard page: say in which case, then fail. A sanitizer's own report is better where there is one.
 */
static void on_fault(int signal_number) {
    static const char message[] = "not ok: memory fault in case: ";
    if (write(STDOUT_FILENO, message, sizeof message - 1) < 0 ||
        write(STDOUT_FILENO, check_context, strlen(check_context)) < 0 || write(STDOUT_FILENO, "\n", 1) < 0)
        _exit(4);
    _exit(128 + signal_number);
}

/* Names select suites, -NAME leaves one out; without names all others run. */
static int is_wanted(const char *suite, int argc, char **argv) {
    int named = 0, selected = 0;
    for (int a = 1; a < argc; a++) {
        if (argv[a][0] == '-' && strcmp(argv[a] + 1, suite) == 0) return 0;
        named |= argv[a][0] != '-';
        selected |= strcmp(argv[a], suite) == 0;
    }
    return selected || !named;
}

int main(int argc, char **argv) {
#ifndef __SANITIZE_ADDRESS__
    signal(SIGSEGV, on_fault);
    signal(SIGBUS, on_fault);
#else
    (void)on_fault;
#endif
    for (size_t i = 0; i < sizeof suites / sizeof suites[0]; i++) {
        if (!is_wanted(suites[i].name, argc, argv)) continue;
        const int passed = checks_passed, failed = checks_failed;
        check_context[0] = 0;
        suites[i].run();
        printf("%-12s %d passed, %d failed\n", suites[i].name, checks_passed - passed,
               checks_failed - failed);
        fflush(stdout);
    }
    printf("instruction sets:");
    for (int rung = 0; rung < dwconv_isa_count(); rung++)
        if (dwconv_isa_available(dwconv_isa_name(rung))) printf(" %s", dwconv_isa_name(rung));
    printf("\n%d passed, %d failed\n", checks_passed, checks_failed);
    return checks_failed != 0 || checks_passed == 0;
}
