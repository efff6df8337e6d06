#!/usr/bin/env bash
# Builds the C core with its tests and runs them.
#
#   tests/c/run.sh [BUILD_DIR] [SUITE | -SUITE]...
#
# -SUITE leaves one out. BUILD_DIR defaults to a temporary directory, removed afterwards. Environment: CC (cc),
# SANITIZE=address,undefined builds under these sanitizers, ISAS="AVX2" with no other kernels than these and the
# baseline's, EMULATE=1 (with gcc) makes AVX-512's of AVX2's vectors, for a CPU that has AVX2 only, EVEX=1 encodes
# AVX-VNNI's dot products as AVX-512 VNNI has them, RUNNER is a command that runs the tests of another architecture:
#
#   CC=aarch64-linux-gnu-gcc RUNNER='qemu-aarch64 -L /usr/aarch64-linux-gnu' tests/c/run.sh
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
if [[ $# -gt 0 ]]; then
    build=$1
    shift
    mkdir -p "$build"
else
    build=$(mktemp -d)
    trap 'rm -rf "$build"' EXIT
fi

read -ra cc <<<"${CC:-cc}" # it may have options, or ccache before it
level=-O2
# Instrumented, emulated or for another machine, kernels take minutes to compile with -O2, seconds with -O1.
[[ -n ${SANITIZE:-}${RUNNER:-} || ${EMULATE:-0} == 1 ]] && level=-O1
flags=(-std=c11 -D_GNU_SOURCE $level -g1 -ffp-contract=off -fno-math-errno -Wall -Wextra -Werror)
link=(-pthread -lm)
[[ ${EMULATE:-0} == 1 ]] && flags+=(-include "$root/tests/c/emulated_avx512.h" -Wno-psabi)
[[ ${EVEX:-0} == 1 ]] && flags+=(-DDWC_EVEX_VNNI)
if [[ -n ${SANITIZE:-} ]]; then
    flags+=("-fsanitize=$SANITIZE" -fno-sanitize-recover=all -fno-omit-frame-pointer)
    link+=("-fsanitize=$SANITIZE")
fi
[[ -n ${RUNNER:-} ]] && flags+=(-DUNDER_EMULATION)
for symbol in malloc calloc realloc aligned_alloc posix_memalign free mmap pthread_create dwc_this_machine; do
    link+=("-Wl,--wrap=$symbol")
done

for isa in AVX2 AVX512 NEON; do
    [[ " ${ISAS-$isa} " == *" $isa "* ]] || flags+=("-DDWCONV_NO_$isa")
done

objects=()
for source in "$root"/csrc/kernels/isa/*.c "$root"/csrc/*.c "$root"/csrc/*/*.c "$root"/tests/c/*.c; do # the longest first
    object=${source#"$root/"}
    object=$build/${object//\//_}.o
    objects+=("$object")
    echo "${source@Q} -o ${object@Q}"
done >"$build/commands"
xargs -P 2 -I '{}' -a "$build/commands" -d '\n' sh -c "${cc[*]} ${flags[*]} -c {}"
"${cc[@]}" "${objects[@]}" "${link[@]}" -o "$build/test_core"
read -ra runner <<<"${RUNNER:-}"
${runner[@]+"${runner[@]}"} "$build/test_core" "$@"
