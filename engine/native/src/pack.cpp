// Packing: blocks of 32 output columns; in a block, 128 bytes for each 4 inputs, 4 bytes a column.
// A block is read as one stream, and so are its scales, 32 for each group of 64 inputs.
#include <algorithm>
#include <cmath>
#include <vector>

#include "call.h"

namespace nemodiff {
namespace {

struct Context {
  const void* weight;
  int32_t type;
  int64_t M, K;
  uint8_t* out;
  const Kernels& kernels;
};

void pack_block(const void* context, int64_t block, int) {
  const auto& c = *static_cast<const Context*>(context);
  const int64_t groups = c.K / kGroup, size = c.type == kFloat32 ? 4 : 2;
  uint8_t* weights = c.out + block * kColumns * c.K;
  float* scales = reinterpret_cast<float*>(c.out + c.M * c.K) + block * kColumns * groups;
  std::vector<float> row(c.K), row_scales(groups);
  std::vector<int8_t> values(c.K);
  std::vector<int32_t> starts(groups);
  for (int64_t column = 0; column < kColumns; ++column) {
    const int64_t m = block * kColumns + column;
    c.kernels.read(static_cast<const char*>(c.weight) + m * c.K * size, c.type, row.data(), c.K);
    c.kernels.quantise(row.data(), c.K, {values.data(), row_scales.data(), starts.data()});
    for (int64_t k = 0; k < c.K; k += 4) {
      uint8_t* four = weights + k * kColumns + column * 4;
      for (int i = 0; i < 4; ++i) four[i] = static_cast<uint8_t>(values[k + i] + 128);
    }
    for (int64_t g = 0; g < groups; ++g) scales[g * kColumns + column] = row_scales[g];
  }
}

}  // namespace

int64_t packed_bytes(int64_t M, int64_t K) { return M * K + M * K / kGroup * 4; }

void pack(const void* weight, int32_t type, int64_t M, int64_t K, uint8_t* out,
          const Kernels& kernels, Pool& pool) {
  const Context context{weight, type, M, K, out, kernels};
  pool.run(pack_block, &context, M / kColumns);
}

}  // namespace nemodiff
