// x86-64 with the int8 dot product in 256-bit registers: Alder Lake and newer laptops.
#include "kernels.h"
#include "target.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

COMPILE_FOR("avx2,fma")
namespace nemodiff {
namespace {

constexpr int kAttentionRows = 1;
#define CONVERT_AVX2
#define NAME "avxvnni"
#define MAX_ROWS 4
#define USUAL_ROWS 4
#define TILES tile_1, tile_2, tile_3, tile_4
#define NEEDS_STARTS true
#define PREPARE(weights)
// As assembly, so that compilers without -mavxvnni will do; the assembler must know it.
#define DOT(sum, weights, values) \
  asm("%{vex%} vpdpbusd %2,%1,%0" : "+x"(sum) : "x"(weights), "x"(values))

#include "vectors.inc"
#include "rows.inc"
#include "attention.inc"
#include "survey.inc"
#include "tile_256.inc"
#include "table.inc"

}  // namespace
}  // namespace nemodiff
COMPILE_FOR_ALL

namespace nemodiff {

const Kernels* avxvnni_kernels() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return nullptr;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1) ? &kTable : nullptr;
}

}  // namespace nemodiff
#else
namespace nemodiff {
const Kernels* avxvnni_kernels() { return nullptr; }
}  // namespace nemodiff
#endif
