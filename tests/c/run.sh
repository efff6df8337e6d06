#!/usr/bin/env bash
# Builds the C core with its tests and runs them.
#
#   tests/c/run.sh [BUILD_DIR] [SUITE...]
#
# BUILD_DIR defaults to a temporary directory, removed afterwards. Environment: CC (cc),
# SANITIZE=address,undefined builds under these sanitizers, OPENMP=1 builds the core with OpenMP,
# RUNNER is a command that runs the tests of another architecture:
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

cc=${CC:-cc}
flags=(-std=c11 -D_GNU_SOURCE -O2 -g -ffp-contract=off -fno-math-errno -Wall -Wextra -Werror)
link=(-pthread -lm)
[[ ${OPENMP:-0} == 1 ]] && flags+=(-fopenmp) link+=(-fopenmp)
if [[ -n ${SANITIZE:-} ]]; then
    # -O2 -g compiles the instrumented kernels for minutes each, -O1 -g1 for seconds.
    flags+=("-fsanitize=$SANITIZE" -fno-sanitize-recover=all -fno-omit-frame-pointer -O1 -g1)
    link+=("-fsanitize=$SANITIZE")
fi
for symbol in malloc calloc realloc aligned_alloc posix_memalign free mmap; do
    link+=("-Wl,--wrap=$symbol")
done

avx2=(-mavx2 -mfma)
avx512=(-mavx512f -mavx512vl -mavx512bw -mavx512dq "${avx2[@]}")
compiles() { echo 'int main(void) { return 0; }' | "$cc" -x c "$@" -c - -o "$build/probe.o" 2>"$build/probe.log"; }

sources=("$root"/csrc/*.c "$root"/csrc/kernels/isa_baseline.c "$root"/tests/c/*.c)
isa_sources=()
case $("$cc" -dumpmachine) in
x86_64*)
    if compiles "${avx2[@]}"; then isa_sources+=(avx2) flags+=(-DDWCONV_HAVE_AVX2=1); fi
    if compiles "${avx512[@]}"; then isa_sources+=(avx512) flags+=(-DDWCONV_HAVE_AVX512=1); fi
    ;;
aarch64*) isa_sources+=(neon) flags+=(-DDWCONV_HAVE_NEON=1) ;;
esac

objects=()
compile() { # source, then extra flags
    local object
    object=${1#"$root/"}
    object=$build/${object//\//_}.o
    objects+=("$object")
    echo "${*@Q} -o ${object@Q}"
}
{
    for source in "${sources[@]}"; do compile "$source"; done
    for isa in ${isa_sources[@]+"${isa_sources[@]}"}; do
        if [[ $isa == neon ]]; then compile "$root/csrc/kernels/isa_neon.c"; fi
        if [[ $isa == avx2 ]]; then compile "$root/csrc/kernels/isa_avx2.c" "${avx2[@]}"; fi
        if [[ $isa == avx512 ]]; then compile "$root/csrc/kernels/isa_avx512.c" "${avx512[@]}"; fi
    done
} >"$build/commands"
xargs -P 2 -I '{}' -a "$build/commands" -d '\n' sh -c "$cc ${flags[*]} -c {}"
"$cc" "${objects[@]}" "${link[@]}" -o "$build/test_core"
read -ra runner <<<"${RUNNER:-}"
${runner[@]+"${runner[@]}"} "$build/test_core" "$@"
