// A few threads that share out the chunks of one step at a time and sleep between calls.
#pragma once

#include <cstdint>

namespace nemodiff {

using Task = void (*)(const void* context, int64_t chunk, int worker);

// The caller is worker 0 and can finish every step alone, so a thread that loses its processor
// holds up no more than the chunk it is at.
class Pool {
 public:
  explicit Pool(int num_threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int num_threads() const { return num_threads_; }

  // Returns when all of `num_chunks` (below 2^31) are done. One caller at a time.
  void run(Task task, const void* context, int64_t num_chunks);

 private:
  struct State;
  void work(int worker);
  int take(uint32_t generation, int worker);

  const int num_threads_;
  State* state_;
};

}  // namespace nemodiff
