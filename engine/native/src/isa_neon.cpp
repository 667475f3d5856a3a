// ARM with the int8 dot product: Apple M1, Cortex-A76 and newer.
#include "kernels.h"
#include "target.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#if defined(__linux__)
#include <sys/auxv.h>
#endif

COMPILE_FOR("arch=armv8.2-a+dotprod")
namespace nemodiff {
namespace {

constexpr int kAttentionRows = 1;
#define NAME "neon"
#define MAX_ROWS 4
#define USUAL_ROWS 4
#define TILES tile_1, tile_2, tile_3, tile_4

// R rows x 16 columns, twice for a block.
#define TILE(R)                                                                                \
  __attribute__((noinline)) static void tile_##R(const TileArgs& a) {                          \
    const int64_t groups = a.K / kGroup;                                                       \
    for (int half = 0; half < 2; ++half) {                                                     \
      float32x4_t totals[R][4];                                                                \
      for (int r = 0; r < R; ++r) {                                                            \
        for (int i = 0; i < 4; ++i) totals[r][i] = vdupq_n_f32(0.0f);                          \
      }                                                                                        \
      for (int64_t g = 0; g < groups; ++g) {                                                   \
        int32x4_t sums[R][4];                                                                  \
        for (int r = 0; r < R; ++r) {                                                          \
          for (int i = 0; i < 4; ++i) sums[r][i] = vdupq_n_s32(0);                             \
        }                                                                                      \
        for (int step = 0; step < 16; ++step) {                                                \
          const uint8_t* weights = a.weights + (g * 16 + step) * 128 + half * 64;              \
          int8x16_t values[R];                                                                 \
          for (int r = 0; r < R; ++r) {                                                        \
            int32_t four;                                                                      \
            __builtin_memcpy(&four, a.x + r * a.K + g * kGroup + 4 * step, 4);                 \
            values[r] = vreinterpretq_s8_s32(vdupq_n_s32(four));                               \
          }                                                                                    \
          for (int i = 0; i < 4; ++i) {                                                        \
            const uint8x16_t stored = vld1q_u8(weights + 16 * i);                              \
            const int8x16_t w = vreinterpretq_s8_u8(veorq_u8(stored, vdupq_n_u8(128)));        \
            for (int r = 0; r < R; ++r) sums[r][i] = vdotq_s32(sums[r][i], w, values[r]);      \
          }                                                                                    \
        }                                                                                      \
        for (int i = 0; i < 4; ++i) {                                                          \
          const float32x4_t scale = vld1q_f32(a.scales + g * kColumns + half * 16 + 4 * i);    \
          for (int r = 0; r < R; ++r) {                                                        \
            const float32x4_t factor = vmulq_n_f32(scale, a.x_scales[r * groups + g]);         \
            totals[r][i] = vfmaq_f32(totals[r][i], vcvtq_f32_s32(sums[r][i]), factor);         \
          }                                                                                    \
        }                                                                                      \
      }                                                                                        \
      for (int r = 0; r < R; ++r) {                                                            \
        float* out = a.out + r * kColumns + half * 16;                                         \
        for (int i = 0; i < 4; ++i) vst1q_f32(out + 4 * i, totals[r][i]);                      \
      }                                                                                        \
    }                                                                                          \
  }

#include "vectors.inc"
#include "rows.inc"
#include "attention.inc"
#include "survey.inc"
TILE(1)
TILE(2)
TILE(3)
TILE(4)
#include "table.inc"

}  // namespace
}  // namespace nemodiff
COMPILE_FOR_ALL

namespace nemodiff {

const Kernels* neon_kernels() {
#if defined(__linux__)
  constexpr unsigned long kDotProduct = 1ul << 20;  // HWCAP_ASIMDDP
  return getauxval(AT_HWCAP) & kDotProduct ? &kTable : nullptr;
#else
  return &kTable;  // every Mac with an ARM processor has it
#endif
}

}  // namespace nemodiff
#else
namespace nemodiff {
const Kernels* neon_kernels() { return nullptr; }
}  // namespace nemodiff
#endif
