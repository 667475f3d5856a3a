// What one instruction set brings: the inner loops over one tile, one row or one head.
//
// Each isa_*.cpp fills a `Kernels` table from the same sources; `best_kernels` chooses among those
// that the processor can run. All results of the int8 product are equal bit for bit.
#pragma once

#include <cstdint>

namespace nemodiff {

constexpr int64_t kGroup = 64;    // inputs that share a scale
constexpr int64_t kColumns = 32;  // outputs of a block of packed weights
constexpr int kMaxTileRows = 12;
constexpr int64_t kTile = 64;  // positions that attention takes at once
constexpr int64_t kMaxHeadDim = 256;

enum Type : int32_t { kFloat32 = 0, kBfloat16 = 1 };

// One row of activations: K values, K / 64 scales, and K / 64 times -128 x the group's sum, which
// takes back the offset of the unsigned weights.
struct QuantisedRow {
  int8_t* values;
  float* scales;
  int32_t* starts;
};

// A block of 32 outputs against a few rows; rows lie K values (K / 64 scales) apart.
struct TileArgs {
  const uint8_t* weights;  // (K / 4, 32, 4), unsigned with an offset of 128
  const float* scales;     // (K / 64, 32)
  const int8_t* x;
  const float* x_scales;
  const int32_t* x_starts;
  int64_t K;
  float* out;  // (rows, 32)
  // What to load ahead of its use while this goes on: `ahead_step` bytes for each 4 inputs.
  const uint8_t* ahead;
  int64_t ahead_step;
};

// Attention of tokens [first, last) for one key-value head.
struct HeadArgs {
  const float* q;  // (T, num_heads, D), rotated and scaled
  const void* keys;
  const void* values;  // (L, D) each, of `type`
  int32_t type;
  const uint8_t* visible;  // (T, T) over the last T positions, or null: everything is seen
  float* out;              // (T, num_heads, D)
  float* scratch;          // attend_scratch_floats
  int64_t T, L, D, num_heads, first_head, group, first, last;
};

// What a part of a row of logits tells: the best token that may be chosen, its logit, the best logit
// of the others that may be chosen; the largest of all logits, and the sum of exp(logit - largest).
struct Part {
  int64_t token;
  float best, second, largest, total;
};

struct Kernels {
  const char* name;
  void (*tiles[kMaxTileRows])(const TileArgs&);
  int max_rows;     // of a tile, where one will do
  int usual_rows;   // of a tile among several
  void (*read)(const void* x, int32_t type, float* out, int64_t n);
  void (*write)(const float* x, int32_t type, void* out, int64_t n);
  // out = values + bias (+ out); bias may be null.
  void (*finish)(const float* values, const float* bias, int32_t type, bool add, void* out);
  void (*rms_norm)(const float* x, const float* weight, float eps, float* out, int64_t n);
  void (*silu_mul)(const float* gate, const float* up, float* out, int64_t n);
  void (*quantise)(const float* x, int64_t K, const QuantisedRow& out);
  // Half-rotation of one head, times `scale`; in and out may be the same.
  void (*rotate)(const float* x, const float* cos, const float* sin, float scale, float* out,
                 int64_t D);
  void (*attend)(const HeadArgs&);
  // Logits of the tokens [first, first + count), and what is added to choose among them.
  void (*survey)(const float* logits, const float* penalty, int64_t first, int64_t count,
                 Part* out);
  // The parts of a row, in their order.
  void (*join)(const Part* parts, int64_t count, Part* out);
};

// State of each query row, and one tile of keys, values and scores.
inline int64_t attend_scratch_floats(int64_t rows, int64_t D) {
  return rows * (D + 2) + 2 * kTile * D + 4 * kTile + 64;
}

// Null where the library was compiled for another architecture or the processor lacks it.
const Kernels* avx512vnni_kernels();
const Kernels* avxvnni_kernels();
const Kernels* avx2_kernels();
const Kernels* neon_kernels();
const Kernels* scalar_kernels();

}  // namespace nemodiff
