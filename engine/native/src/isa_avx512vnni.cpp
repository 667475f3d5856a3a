// x86-64 with AVX-512 and its int8 dot product: Ice Lake, Zen 4 and newer.
#include "kernels.h"
#include "target.h"

#if defined(__x86_64__)
#include <immintrin.h>

COMPILE_FOR("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")
namespace nemodiff {
namespace {

constexpr int kAttentionRows = 4;
#define CONVERT_AVX512
#define NAME "avx512vnni"
#define MAX_ROWS 12
#define USUAL_ROWS 8
#define TILES                                                                               \
  tile_1, tile_2, tile_3, tile_4, tile_5, tile_6, tile_7, tile_8, tile_9, tile_10, tile_11, \
      tile_12

#include "vectors.inc"
#include "rows.inc"
#include "attention.inc"
#include "survey.inc"
#include "tile_avx512.inc"
#include "table.inc"

}  // namespace
}  // namespace nemodiff
COMPILE_FOR_ALL

namespace nemodiff {

const Kernels* avx512vnni_kernels() {
  const bool is_there = __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return is_there ? &kTable : nullptr;
}

}  // namespace nemodiff
#else
namespace nemodiff {
const Kernels* avx512vnni_kernels() { return nullptr; }
}  // namespace nemodiff
#endif
