#!/usr/bin/env bash
# Builds the libFuzzer target with clang, AddressSanitizer and UndefinedBehaviorSanitizer, and runs it.
#
#   tests/c/fuzz/run.sh SECONDS [CORPUS_DIR] [LIBFUZZER_OPTION...]
#
# Environment: CC (clang), BUILD (a directory to keep the program in), ISAS="AVX2" (kernels beside the baseline's),
# COVERAGE=1 builds for llvm-cov too.
set -euo pipefail

root=$(cd "$(dirname "$0")/../../.." && pwd)
seconds=${1:?usage: tests/c/fuzz/run.sh SECONDS [CORPUS_DIR] [LIBFUZZER_OPTION...]}
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
build=${BUILD:-$temporary}
corpus=${2:-$temporary/corpus}
mkdir -p "$build" "$corpus"
shift $(($# < 2 ? $# : 2))

read -ra cc <<<"${CC:-clang}"
common=(-std=c11 -D_GNU_SOURCE -O1 -ffp-contract=off -fno-math-errno)
for isa in AVX2 AVX512 NEON; do
    [[ " ${ISAS-$isa} " == *" $isa "* ]] || common+=("-DDWCONV_NO_$isa")
done
[[ ${COVERAGE:-0} == 1 ]] && common+=(-fprofile-instr-generate -fcoverage-mapping)
core=("${common[@]}" -g1 -fsanitize=address,undefined,fuzzer -fno-sanitize-recover=all)
# Fully instrumented, the unrolled kernels compile for minutes: their loads and stores are checked by calls, and
# what they compute is left to the sanitizer runs of tests/c/run.sh.
kernels=("${common[@]}" -fsanitize=address -mllvm -asan-instrumentation-with-call-threshold=0)
for source in "$root"/csrc/kernels/isa/*.c; do
    echo "-c $source -o $build/isa_$(basename "$source" .c).o"
done | xargs -P 2 -I '{}' sh -c "${cc[*]} ${kernels[*]} {}"
"${cc[@]}" "${core[@]}" "$root"/csrc/*.c "$root"/csrc/*/*.c "$root"/tests/c/fuzz/*.c "$build"/isa_*.o -lm -pthread -o "$build/fuzz_plans"
"$build/fuzz_plans" -max_total_time="$seconds" -max_len=160 -timeout=20 -print_final_stats=1 "$@" "$corpus"
