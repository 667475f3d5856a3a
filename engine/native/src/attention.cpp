#include <algorithm>
#include <cmath>

#include "call.h"

namespace nemodiff {
namespace {

constexpr int64_t kTokensPerChunk = 8;

struct Context {
  const AttentionCall& call;
  const Kernels& kernels;
  float* q;
  float* scratch;
  int64_t scratch_per_worker, chunks_per_head;
};

// Token `t` of q goes to scratch, of k and v into the cache.
void place_token(const Context& context, int64_t t) {
  const AttentionCall& c = context.call;
  const Kernels& kernels = context.kernels;
  const int64_t size = c.type == kFloat32 ? 4 : 2;
  const float* row = c.qkv + t * (c.num_heads + 2 * c.num_kv_heads) * c.D;
  const float *cos = c.cos + t * c.D, *sin = c.sin + t * c.D;
  const float scale = (c.q_scale ? c.q_scale[t] : 1.0f) / std::sqrt(static_cast<float>(c.D));
  for (int64_t head = 0; head < c.num_heads; ++head) {
    kernels.rotate(row + head * c.D, cos, sin, scale,
                   context.q + (t * c.num_heads + head) * c.D, c.D);
  }
  const float* k = row + c.num_heads * c.D;
  const float* v = k + c.num_kv_heads * c.D;
  float rotated[kMaxHeadDim];
  for (int64_t head = 0; head < c.num_kv_heads; ++head) {
    const int64_t at = (head * c.head_stride + (c.length + t) * c.D) * size;
    kernels.rotate(k + head * c.D, cos, sin, 1.0f, rotated, c.D);
    kernels.write(rotated, c.type, static_cast<char*>(c.keys) + at, c.D);
    kernels.write(v + head * c.D, c.type, static_cast<char*>(c.values) + at, c.D);
  }
}

void place(const void* context, int64_t chunk, int) {
  const auto& c = *static_cast<const Context*>(context);
  const int64_t last = std::min(c.call.T, (chunk + 1) * kTokensPerChunk);
  for (int64_t t = chunk * kTokensPerChunk; t < last; ++t) place_token(c, t);
}

void attend(const void* context, int64_t chunk, int worker) {
  const auto& [c, kernels, q, scratch, per_worker, chunks_per_head] =
      *static_cast<const Context*>(context);
  const int64_t head = chunk / chunks_per_head;
  const int64_t first = chunk % chunks_per_head * kTokensPerChunk;
  const int64_t offset = head * c.head_stride * (c.type == kFloat32 ? 4 : 2);
  const int64_t group = c.num_heads / c.num_kv_heads;
  kernels.attend({q, static_cast<const char*>(c.keys) + offset,
                  static_cast<const char*>(c.values) + offset, c.type, c.visible, c.out,
                  scratch + worker * per_worker, c.T, c.length + c.T, c.D, c.num_heads,
                  head * group, group, first, std::min(c.T, first + kTokensPerChunk)});
}

}  // namespace

void attention(const AttentionCall& call, const Kernels& kernels, Pool& pool,
               Workspace& workspace) {
  const int64_t rows = kTokensPerChunk * call.num_heads / call.num_kv_heads;
  const int64_t per_worker = attend_scratch_floats(rows, call.D);
  grow(workspace.q, call.T * call.num_heads * call.D);
  grow(workspace.scratch, per_worker * pool.num_threads());
  const int64_t num_chunks = (call.T + kTokensPerChunk - 1) / kTokensPerChunk;
  const Context context{call,       kernels,   workspace.q.data(), workspace.scratch.data(),
                        per_worker, num_chunks};
  pool.run(place, &context, num_chunks);
  pool.run(attend, &context, num_chunks * call.num_kv_heads);
}

}  // namespace nemodiff
