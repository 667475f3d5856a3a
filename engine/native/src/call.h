// The operations of a forward, and what they work with.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels.h"
#include "pool.h"

namespace nemodiff {

enum Before : int32_t { kNothing = 0, kRmsNorm = 1, kSiluMul = 2 };

// y (N, M) = f(x) W^T + bias, or y += that.
struct LinearCall {
  const void* x;  // (N, K); (N, 2 K), gate and up, with kSiluMul
  int32_t x_type;
  int32_t before;
  const float* norm;  // (K), with kRmsNorm
  float eps;
  const uint8_t* weights;  // packed: see pack.cpp
  const float* bias;       // (M) or null
  void* y;
  int32_t y_type;
  int32_t add;
  void* input;  // (N, K): f(x) is also left here, or null
  int32_t input_type;
  const uint8_t* down;  // packed (R, K) and (M, R): rows [first, last) of y get up(down(f(x))) on
  const uint8_t* up;    // top; or null
  int64_t N, K, M, R, first, last;
};

// Rotates q and k of T tokens, writes k and v behind `length` cached positions, attends.
struct AttentionCall {
  const float* qkv;  // (T, (num_heads + 2 num_kv_heads) * D)
  const float* cos;  // (T, D), as sin
  const float* sin;
  const float* q_scale;  // (T): on q beyond D^-0.5; or null
  void* keys;            // head h begins `head_stride` values behind head h - 1
  void* values;
  int32_t type;
  const uint8_t* visible;  // (T, T) or null
  float* out;              // (T, num_heads * D)
  int64_t T, length, head_stride, num_heads, num_kv_heads, D;
};

// What the logits (N, V) tell, given, or made of hidden states x (N, K) and the packed head (V, K).
struct SurveyCall {
  const float* logits;  // or null
  const void* x;
  int32_t x_type;
  const uint8_t* weights;
  const float* penalty;    // (V): 0 for ids that may be chosen, else minus infinity
  const int64_t* end_ids;  // (E)
  int64_t* tokens;         // (N), and so on: see Part
  float* best;
  float* second;
  float* largest;
  float* total;
  float* ends;  // (N, E): the logits of end_ids
  int64_t N, V, K, E;
};

// y (N, M) = x W^T + bias, or y += that, for quantised x (N, K).
struct Product {
  const int8_t* values;
  const float* scales;
  const int32_t* starts;
  const uint8_t* weights;
  const float* bias;
  void* y;                // column `first` of the result, rows `stride` values apart
  int64_t stride, first;
  int32_t y_type, add;
  int64_t N, K, M;
};

// Memory that grows and is kept; one per process, since calls are made one at a time.
struct Quantised {
  std::vector<int8_t> values;
  std::vector<float> scales;
  std::vector<int32_t> starts;
};

struct Workspace {
  Quantised x, low;
  std::vector<float> rows, low_rows, scratch, q, logits;
  std::vector<Part> parts;
};

template <typename T>
void grow(std::vector<T>& buffer, int64_t size) {
  if (static_cast<int64_t>(buffer.size()) < size) buffer.resize(size);
}

void linear(const LinearCall& call, const Kernels& kernels, Pool& pool, Workspace& workspace);
void survey(const SurveyCall& call, const Kernels& kernels, Pool& pool, Workspace& workspace);
void attention(const AttentionCall& call, const Kernels& kernels, Pool& pool,
               Workspace& workspace);

// Leaves f(x), quantised, in the workspace.
void quantise_input(const LinearCall& call, const Kernels& kernels, Pool& pool,
                    Workspace& workspace);
// All rows against one block of 32 outputs.
void multiply_block(const Product& product, const Kernels& kernels, int64_t block);

// Bytes of a packed (M, K) weight: M * K weights, then M * K / 64 scales.
int64_t packed_bytes(int64_t M, int64_t K);
void pack(const void* weight, int32_t type, int64_t M, int64_t K, uint8_t* out,
          const Kernels& kernels, Pool& pool);

}  // namespace nemodiff
