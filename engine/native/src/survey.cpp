// A survey of logits, given or made here from hidden states and the packed head. Parts of a row are
// always the same tokens and are joined in their order, so results depend neither on the number of
// threads nor on the rows beside, and those of the head are those of its logits, bit for bit.
#include <algorithm>

#include "call.h"

namespace nemodiff {
namespace {

constexpr int64_t kPartTokens = 32 * kColumns;

struct Context {
  const SurveyCall& call;
  const Kernels& kernels;
  const Quantised& x;
  Part* parts;
  float* logits;  // (N, kPartTokens) for each worker
  int64_t num_parts;
};

void survey_part(const void* context, int64_t part, int worker) {
  const auto& [c, kernels, x, parts, buffer, num_parts] = *static_cast<const Context*>(context);
  const int64_t first = part * kPartTokens, count = std::min(kPartTokens, c.V - first);
  const float* logits = c.logits + (c.logits ? first : 0);
  int64_t stride = c.V;
  if (!c.logits) {
    float* own = buffer + worker * c.N * kPartTokens;
    const Product product{x.values.data(), x.scales.data(), x.starts.data(), c.weights,
                          nullptr,         own,             kPartTokens,     first,
                          kFloat32,        0,               c.N,             c.K,
                          c.V};
    for (int64_t column = first; column < first + count; column += kColumns) {
      multiply_block(product, kernels, column / kColumns);
    }
    logits = own;
    stride = kPartTokens;
  }
  for (int64_t n = 0; n < c.N; ++n) {
    const float* row = logits + n * stride;
    kernels.survey(row, c.penalty + first, first, count, parts + n * num_parts + part);
    for (int64_t e = 0; e < c.E; ++e) {
      const int64_t at = c.end_ids[e] - first;
      if (at >= 0 && at < count) c.ends[n * c.E + e] = row[at];
    }
  }
}

}  // namespace

void survey(const SurveyCall& call, const Kernels& kernels, Pool& pool, Workspace& workspace) {
  const int64_t num_parts = (call.V + kPartTokens - 1) / kPartTokens;
  if (!call.logits) {
    LinearCall head{};
    head.x = call.x;
    head.x_type = call.x_type;
    head.N = call.N;
    head.K = call.K;
    quantise_input(head, kernels, pool, workspace);
    grow(workspace.logits, pool.num_threads() * call.N * kPartTokens);
  }
  grow(workspace.parts, call.N * num_parts);
  const Context context{call,
                        kernels,
                        workspace.x,
                        workspace.parts.data(),
                        workspace.logits.data(),
                        num_parts};
  pool.run(survey_part, &context, num_parts);
  for (int64_t n = 0; n < call.N; ++n) {
    Part all;
    kernels.join(workspace.parts.data() + n * num_parts, num_parts, &all);
    call.tokens[n] = all.token;
    call.best[n] = all.best;
    call.second[n] = all.second;
    call.largest[n] = all.largest;
    call.total[n] = all.total;
  }
}

}  // namespace nemodiff
