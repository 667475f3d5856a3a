// x86-64 with AVX2 and FMA: Haswell, Zen and newer.
#include "kernels.h"
#include "target.h"

#if defined(__x86_64__)
#include <immintrin.h>

COMPILE_FOR("avx2,fma")
namespace nemodiff {
namespace {

constexpr int kAttentionRows = 1;
#define CONVERT_AVX2
#define NAME "avx2"
#define MAX_ROWS 3
#define USUAL_ROWS 3
#define TILES tile_1, tile_2, tile_3
#define NEEDS_STARTS false
// Weights lose their offset and the sign moves to them: magnitudes up to 127 on both sides keep
// the 16-bit sums of pairs from saturating.
#define PREPARE(weights) weights = _mm256_xor_si256(weights, _mm256_set1_epi8(-128))
#define DOT(sum, weights, values)                                                            \
  sum = _mm256_add_epi32(                                                                    \
      sum, _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(values),                   \
                                                  _mm256_sign_epi8(weights, values)),        \
                             _mm256_set1_epi16(1)))

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

const Kernels* avx2_kernels() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &kTable : nullptr;
}

}  // namespace nemodiff
#else
namespace nemodiff {
const Kernels* avx2_kernels() { return nullptr; }
}  // namespace nemodiff
#endif
