// The slow twin, one product at a time, for every processor; the others are tested against it.
#include <cmath>

#include "kernels.h"

namespace nemodiff {
namespace {

constexpr int kAttentionRows = 1;
#define NAME "scalar"
#define MAX_ROWS 1
#define USUAL_ROWS 1
#define TILES tile_1

void tile_1(const TileArgs& a) {
  for (int64_t column = 0; column < kColumns; ++column) {
    float total = 0.0f;
    for (int64_t g = 0; g < a.K / kGroup; ++g) {
      int32_t sum = a.x_starts[g];
      for (int64_t i = 0; i < kGroup; ++i) {
        const int64_t k = g * kGroup + i;
        sum += a.weights[(k / 4) * 128 + column * 4 + k % 4] * a.x[k];
      }
      const float scale = a.x_scales[g] * a.scales[g * kColumns + column];
      total = std::fma(static_cast<float>(sum), scale, total);
    }
    a.out[column] = total;
  }
}

#include "vectors.inc"
#include "rows.inc"
#include "attention.inc"
#include "survey.inc"
#include "table.inc"

}  // namespace

const Kernels* scalar_kernels() { return &kTable; }

}  // namespace nemodiff
