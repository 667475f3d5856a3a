#include "pool.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace nemodiff {
namespace {

// Long enough for the gap between two calls of one forward, too short to take a core away.
constexpr int kIdleSpins = 2000;
constexpr int kDoneSpins = 2000;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// No step has so many chunks: while it stands as next chunk, nothing can be taken.
constexpr uint32_t kClosed = 0xffffffff;

constexpr uint64_t word(uint32_t generation, uint32_t next) {
  return (uint64_t{generation} << 32) | next;
}

}  // namespace

struct Pool::State {
  // Generation and next chunk in one word: a thread that comes late to a step that is over can
  // take nothing of the one that follows.
  std::atomic<uint64_t> ticket{0};
  std::atomic<uint32_t> done{0};
  std::atomic<uint32_t> num_chunks{0};
  std::atomic<Task> task{nullptr};
  std::atomic<const void*> context{nullptr};
  std::atomic<int> sleepers{0};
  std::atomic<bool> is_ending{false};
  std::mutex mutex;
  std::condition_variable wake;
  std::vector<std::thread> threads;
};

Pool::Pool(int num_threads) : num_threads_(num_threads), state_(new State) {
  for (int worker = 1; worker < num_threads; ++worker) {
    state_->threads.emplace_back([this, worker] { work(worker); });
  }
}

Pool::~Pool() {
  {
    std::lock_guard<std::mutex> lock(state_->mutex);
    state_->is_ending = true;
  }
  state_->wake.notify_all();
  for (std::thread& thread : state_->threads) thread.join();
  delete state_;
}

void Pool::run(Task task, const void* context, int64_t num_chunks) {
  if (num_threads_ == 1 || num_chunks == 1) {
    for (int64_t chunk = 0; chunk < num_chunks; ++chunk) task(context, chunk, 0);
    return;
  }
  State& s = *state_;
  const auto count = static_cast<uint32_t>(num_chunks);
  const auto last = static_cast<uint32_t>(s.ticket.load() >> 32);
  const uint32_t generation = last + 1;
  // The step before must be closed first: a thread still at its end would compare that end with
  // the new number of chunks and take one of a step that is only half written. Whoever reads a new
  // value below has also seen this, so that its exchange fails.
  s.ticket.store(word(last, kClosed));
  s.task.store(task, std::memory_order_release);
  s.context.store(context, std::memory_order_release);
  s.num_chunks.store(count, std::memory_order_release);
  s.done.store(0, std::memory_order_relaxed);
  s.ticket.store(word(generation, 0));
  if (s.sleepers.load() > 0) {
    { std::lock_guard<std::mutex> lock(s.mutex); }
    s.wake.notify_all();
  }
  take(generation, 0);
  for (int spins = 0; s.done.load(std::memory_order_acquire) != count; ++spins) {
    if (spins < kDoneSpins) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }
}

int Pool::take(uint32_t generation, int worker) {
  State& s = *state_;
  int taken = 0;
  uint64_t seen = s.ticket.load(std::memory_order_acquire);
  while (static_cast<uint32_t>(seen >> 32) == generation) {
    const Task task = s.task.load(std::memory_order_acquire);
    const void* context = s.context.load(std::memory_order_acquire);
    const auto next = static_cast<uint32_t>(seen);
    if (next >= s.num_chunks.load(std::memory_order_acquire)) break;
    // Succeeds only while the step is under way, so what was read of it above belongs to it.
    if (!s.ticket.compare_exchange_weak(seen, seen + 1)) continue;
    task(context, next, worker);
    s.done.fetch_add(1, std::memory_order_release);
    ++taken;
    seen = s.ticket.load(std::memory_order_acquire);
  }
  return taken;
}

void Pool::work(int worker) {
  State& s = *state_;
  uint32_t last = 0;
  for (;;) {
    uint32_t generation = last;
    for (int spins = 0; spins < kIdleSpins && generation == last; ++spins) {
      generation = static_cast<uint32_t>(s.ticket.load(std::memory_order_acquire) >> 32);
      pause();
    }
    if (generation == last) {
      std::unique_lock<std::mutex> lock(s.mutex);
      s.sleepers.fetch_add(1);
      s.wake.wait(lock, [&] {
        generation = static_cast<uint32_t>(s.ticket.load() >> 32);
        return s.is_ending || generation != last;
      });
      s.sleepers.fetch_sub(1);
    }
    if (s.is_ending) return;
    take(generation, worker);
    last = generation;
  }
}

}  // namespace nemodiff
