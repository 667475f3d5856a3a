#include <algorithm>

#include "call.h"

namespace nemodiff {
namespace {

// Rows that are worth handing to another thread.
constexpr int64_t kRowsPerChunk = 4;
constexpr int64_t kChunksPerThread = 12;
// How far a block is loaded ahead where only one tile of rows passes over it. Tiles ask for it into
// the second-level cache: the few misses that the first level keeps track of are not enough. With
// few rows the processor's own load-ahead keeps up and is better left alone: on a Zen 4 one to five
// rows are up to a third quicker without, eight a tenth slower.
constexpr int64_t kAheadBytes = 8192;
constexpr int64_t kFewRows = 5;

struct Context {
  const LinearCall& call;
  const Kernels& kernels;
  Workspace& workspace;
};

// The second product, on some of the rows of the first, is null where there is no adapter.
struct Products {
  const Product* first;
  const Product* second;
  const Kernels& kernels;
  int64_t blocks_per_chunk;
};

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t size_of(int32_t type) { return type == kFloat32 ? 4 : 2; }

void grow_rows(Quantised& x, int64_t N, int64_t K) {
  grow(x.values, N * K);
  grow(x.scales, N * K / kGroup);
  grow(x.starts, N * K / kGroup);
}

void quantise(const Kernels& kernels, const float* row, int64_t n, int64_t K, Quantised& out) {
  const int64_t groups = K / kGroup;
  kernels.quantise(row, K,
                   {out.values.data() + n * K, out.scales.data() + n * groups,
                    out.starts.data() + n * groups});
}

void quantise_rows(const void* context, int64_t chunk, int worker) {
  const auto& [c, kernels, workspace] = *static_cast<const Context*>(context);
  const int64_t last = std::min(c.N, (chunk + 1) * kRowsPerChunk);
  const int64_t width = c.before == kSiluMul ? 2 * c.K : c.K;
  float* read = workspace.rows.data() + worker * 3 * c.K;
  for (int64_t n = chunk * kRowsPerChunk; n < last; ++n) {
    const void* x = static_cast<const char*>(c.x) + n * width * size_of(c.x_type);
    const float* row = static_cast<const float*>(x);
    if (c.x_type != kFloat32) {
      kernels.read(x, c.x_type, read, width);
      row = read;
    }
    float* changed = read + 2 * c.K;
    if (c.before == kRmsNorm) kernels.rms_norm(row, c.norm, c.eps, changed, c.K);
    if (c.before == kSiluMul) kernels.silu_mul(row, row + c.K, changed, c.K);
    if (c.before != kNothing) row = changed;
    if (c.input) {
      char* kept = static_cast<char*>(c.input) + n * c.K * size_of(c.input_type);
      kernels.write(row, c.input_type, kept, c.K);
    }
    quantise(kernels, row, n, c.K, workspace.x);
  }
}

void multiply(const void* context, int64_t chunk, int) {
  const auto& [first, second, kernels, blocks] = *static_cast<const Products*>(context);
  const int64_t last = std::min(first->M / kColumns, (chunk + 1) * blocks);
  for (int64_t block = chunk * blocks; block < last; ++block) {
    multiply_block(*first, kernels, block);
    if (second) multiply_block(*second, kernels, block);
  }
}

void run(const Product& first, const Product* second, const Kernels& kernels, Pool& pool) {
  const int64_t num_blocks = first.M / kColumns;
  const int64_t blocks = ceil_div(num_blocks, kChunksPerThread * pool.num_threads());
  const Products products{&first, second, kernels, blocks};
  pool.run(multiply, &products, ceil_div(num_blocks, blocks));
}

// The lower side of the adapter, up to its quantised result.
void run_down(const LinearCall& c, const Kernels& kernels, Pool& pool, Workspace& workspace) {
  const int64_t num_rows = c.last - c.first, groups = c.K / kGroup;
  grow_rows(workspace.low, num_rows, c.R);
  grow(workspace.low_rows, num_rows * c.R);
  float* low = workspace.low_rows.data();
  const Quantised& x = workspace.x;
  const Product down{x.values.data() + c.first * c.K,
                     x.scales.data() + c.first * groups,
                     x.starts.data() + c.first * groups,
                     c.down,
                     nullptr,
                     low,
                     c.R,
                     0,
                     kFloat32,
                     0,
                     num_rows,
                     c.K,
                     c.R};
  run(down, nullptr, kernels, pool);
  for (int64_t n = 0; n < num_rows; ++n) quantise(kernels, low + n * c.R, n, c.R, workspace.low);
}

}  // namespace

void quantise_input(const LinearCall& call, const Kernels& kernels, Pool& pool,
                    Workspace& workspace) {
  grow_rows(workspace.x, call.N, call.K);
  grow(workspace.rows, pool.num_threads() * 3 * call.K);
  const Context context{call, kernels, workspace};
  pool.run(quantise_rows, &context, ceil_div(call.N, kRowsPerChunk));
}

// All rows pass over one block before the next, so that weights leave memory once.
void multiply_block(const Product& p, const Kernels& kernels, int64_t block) {
  const int64_t groups = p.K / kGroup, column = block * kColumns;
  const int64_t num_tiles = p.N <= kernels.max_rows ? 1 : ceil_div(p.N, kernels.usual_rows);
  // The first tile brings a block from memory and the others find it in the cache; so that memory
  // is busy all the time, each tile loads its part of the next block.
  const int64_t step = num_tiles == 1 ? 128 : std::max<int64_t>(128 / num_tiles, 16);
  const uint8_t* weights = p.weights + column * p.K;
  const auto* scales = reinterpret_cast<const float*>(p.weights + p.M * p.K) + column * groups;
  char* y = static_cast<char*>(p.y);
  alignas(64) float out[kMaxTileRows * kColumns];
  for (int64_t tile = 0; tile < num_tiles; ++tile) {
    const uint8_t* ahead = p.N <= kFewRows   ? weights
                           : num_tiles == 1 ? weights + kAheadBytes
                                            : weights + kColumns * p.K + tile * step * p.K / 4;
    const int64_t first = tile * p.N / num_tiles, end = (tile + 1) * p.N / num_tiles;
    // What is written at the end of a tile comes nearer meanwhile.
    for (int64_t n = first; n < end; ++n) {
      const char* at = y + (n * p.stride + column - p.first) * size_of(p.y_type);
      __builtin_prefetch(at, 1);
      __builtin_prefetch(at + 64, 1);
    }
    kernels.tiles[end - first - 1]({weights, scales, p.values + first * p.K,
                                    p.scales + first * groups, p.starts + first * groups, p.K, out,
                                    ahead, step});
    for (int64_t n = first; n < end; ++n) {
      kernels.finish(out + (n - first) * kColumns, p.bias ? p.bias + column : nullptr, p.y_type,
                     p.add, y + (n * p.stride + column - p.first) * size_of(p.y_type));
    }
  }
}

void linear(const LinearCall& call, const Kernels& kernels, Pool& pool, Workspace& workspace) {
  quantise_input(call, kernels, pool, workspace);
  const Quantised &x = workspace.x, &low = workspace.low;
  char* y = static_cast<char*>(call.y);
  const Product all{x.values.data(), x.scales.data(), x.starts.data(), call.weights,
                    call.bias,       y,               call.M,          0,
                    call.y_type,     call.add,        call.N,          call.K,
                    call.M};
  if (!call.down || call.first == call.last) {
    run(all, nullptr, kernels, pool);
    return;
  }
  run_down(call, kernels, pool, workspace);
  const Product up{low.values.data(),
                   low.scales.data(),
                   low.starts.data(),
                   call.up,
                   nullptr,
                   y + call.first * call.M * size_of(call.y_type),
                   call.M,
                   0,
                   call.y_type,
                   1,
                   call.last - call.first,
                   call.R,
                   call.M};
  run(all, &up, kernels, pool);
}

}  // namespace nemodiff
