// The C interface, called through ctypes. Pointers are those of live, contiguous tensors, shapes
// are checked by the caller (engine/native/library.py).
#include <cstring>
#include <mutex>

#include "call.h"

namespace nemodiff {
namespace {

// One call at a time: threads and workspace are shared by the whole process. They are never
// destroyed: at its exit another thread may still be inside a call.
std::mutex& mutex = *new std::mutex;
Workspace& workspace = *new Workspace;
Pool* pool = nullptr;

const Kernels* (*const kChoices[])() = {avx512vnni_kernels, avxvnni_kernels, avx2_kernels,
                                        neon_kernels, scalar_kernels};

const Kernels* best_kernels() {
#if defined(__x86_64__)
  __builtin_cpu_init();  // this runs as early as what does it otherwise
#endif
  for (const auto choice : kChoices) {
    if (const Kernels* kernels = choice()) return kernels;
  }
  return nullptr;
}

const Kernels* kernels = best_kernels();

Pool& threads() {
  if (!pool) pool = new Pool(1);
  return *pool;
}

}  // namespace
}  // namespace nemodiff

using namespace nemodiff;

#define EXPORT __attribute__((visibility("default")))

extern "C" {

EXPORT const char* nemodiff_kernels() { return kernels->name; }

// Use the kernels called `name`; 0 where this processor cannot run them.
EXPORT int32_t nemodiff_choose_kernels(const char* name) {
  std::lock_guard<std::mutex> lock(mutex);
  for (const auto choice : kChoices) {
    const Kernels* found = choice();
    if (found && std::strcmp(found->name, name) == 0) {
      kernels = found;
      return 1;
    }
  }
  return 0;
}

EXPORT void nemodiff_set_threads(int32_t num_threads) {
  std::lock_guard<std::mutex> lock(mutex);
  if (pool && pool->num_threads() == num_threads) return;
  delete pool;
  pool = new Pool(num_threads);
}

EXPORT int64_t nemodiff_packed_bytes(int64_t M, int64_t K) { return packed_bytes(M, K); }

EXPORT void nemodiff_pack(const void* weight, int32_t type, int64_t M, int64_t K, uint8_t* out) {
  std::lock_guard<std::mutex> lock(mutex);
  pack(weight, type, M, K, out, *kernels, threads());
}

EXPORT void nemodiff_linear(const LinearCall* call) {
  std::lock_guard<std::mutex> lock(mutex);
  linear(*call, *kernels, threads(), workspace);
}

EXPORT void nemodiff_survey(const SurveyCall* call) {
  std::lock_guard<std::mutex> lock(mutex);
  survey(*call, *kernels, threads(), workspace);
}

EXPORT void nemodiff_attention(const AttentionCall* call) {
  std::lock_guard<std::mutex> lock(mutex);
  attention(*call, *kernels, threads(), workspace);
}
}
