// Convolution of float32 images [B, H, W, C] and its two derivatives, as custom calls of XLA:CPU.
//
// Each is a sum of outer products that a tile holds in registers: some pixels, or rows of the
// kernel's derivative, by a few vectors of output channels. Around the tiles, images are padded and
// kernels packed, so that a tile reads both in order. The scheme is that of Georganas et al. 2018,
// "Anatomy of high-performance deep learning convolutions", https://arxiv.org/abs/1808.05567.

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

#if defined(__AVX512F__)
constexpr int kBytes = 64, kRows = 14;  // 28 of 32 registers hold sums
#elif defined(__AVX2__)
constexpr int kBytes = 32, kRows = 6;  // 12 of 16
#elif defined(__aarch64__)
constexpr int kBytes = 16, kRows = 12;  // 24 of 32
#else
constexpr int kBytes = 16, kRows = 6;
#endif
constexpr int kLanes = kBytes / 4, kColumns = 2, kWidth = kColumns * kLanes;

typedef float Vector __attribute__((vector_size(kBytes), aligned(4), may_alias));

using Images = ffi::Buffer<ffi::F32, 4>;
using Result = ffi::ResultBuffer<ffi::F32, 4>;
using Sizes = ffi::Span<const int64_t>;
using Floats = std::vector<float>;

int cores() { return std::max(1u, std::thread::hardware_concurrency()); }

// Where share i of b begins, of n things dealt out evenly.
int64_t share(int64_t n, int64_t i, int64_t b) { return n * i / b; }

int64_t over(int64_t n, int64_t d) { return (n + d - 1) / d; }

// Runs task(0) to task(n - 1) on the caller and on the pool's threads. The caller waits only for
// what has begun, for it may be one of those threads itself.
template <typename Task>
void parallel(ffi::ThreadPool& pool, int n, const Task& task) {
  struct Work {
    std::atomic<int> next{0};
    int done = 0;
    std::mutex mutex;
    std::condition_variable all;
  };
  auto work = std::make_shared<Work>();  // a helper may come when all is done, and must find it so
  auto run = [work, n, &task] {
    for (int i; (i = work->next++) < n;) {
      task(i);
      std::lock_guard<std::mutex> lock(work->mutex);
      if (++work->done == n) work->all.notify_one();
    }
  };
  for (int i = 1; i < std::min(n, cores()); ++i) pool.Schedule(decltype(run)(run));
  run();
  std::unique_lock<std::mutex> lock(work->mutex);
  work->all.wait(lock, [&] { return work->done == n; });
}

// Along one axis, outputs first, first + step, ... are sums over taps m of the input at
// start + gap * m + stride * i, times the kernel at key + turn * m.
struct Phase {
  int first, step, count, taps, key, turn, start, gap, stride;
};

using Phases = std::vector<Phase>;

Phases forward(int out, int window, int stride, int dilation, int before) {
  return {{0, 1, out, window, 0, 1, -before, dilation, stride}};
}

// The transpose: outputs of one remainder modulo the stride are reached by the same taps.
Phases backward(int out, int window, int stride, int dilation, int before) {
  Phases phases;
  for (int r = 0; r < std::min(stride, out); ++r) {
    Phase phase{r, stride, int(over(out - r, stride)), 0, 0, 0, 0, 0, 1};
    for (int k = window - 1; k >= 0; --k) {
      int at = r + before - dilation * k;
      if (at % stride) continue;
      if (phase.taps == 0) phase.key = k, phase.start = at / stride;
      if (phase.taps == 1) phase.turn = k - phase.key, phase.gap = at / stride - phase.start;
      ++phase.taps;
    }
    phases.push_back(phase);
  }
  return phases;
}

// Zeros before and after an axis.
struct Margin {
  int before = 0, after = 0;
};

Margin margin(const Phases& phases, int size) {
  Margin m;
  for (const Phase& p : phases) {
    int last = p.start + p.gap * (p.taps - 1) + p.stride * (p.count - 1);
    m = {std::max(m.before, -p.start), std::max(m.after, last - (size - 1))};
  }
  return m;
}

// Where things are in padded images, whose pixels are `pixel` floats apart.
struct Padded {
  int64_t height, width, channels, pixel;
  Margin rows, columns;

  int64_t row() const { return (columns.before + width + columns.after) * pixel; }
  int64_t image() const { return (rows.before + height + rows.after) * row(); }
  int64_t at(int h, int w) const {
    return (rows.before + h) * row() + (columns.before + w) * pixel;
  }

  // Channels [from, from + some) of one image, into zeros.
  void copy(const float* x, int from, int some, float* y) const {
    for (int64_t h = 0; h < height; ++h) {
      const float* p = x + h * width * channels + from;
      float* q = y + at(h, 0);
      if (some == channels && pixel == channels)
        std::memcpy(q, p, 4 * width * channels);
      else
        for (int64_t w = 0; w < width; ++w, p += channels, q += pixel) std::copy_n(p, some, q);
    }
  }
};

// Calls f<rows, columns>, which are known only now.
#define CALL(f, rows, columns, ...)                                                  \
  do {                                                                               \
    static constexpr auto table = []<int... r>(std::integer_sequence<int, r...>) {   \
      return std::array{std::array{&f<r + 1, 1>, &f<r + 1, 2>}...};                  \
    }(std::make_integer_sequence<int, kRows>());                                     \
    table[(rows) - 1][(columns) - 1](__VA_ARGS__);                                   \
  } while (false)

// What the taps of one output read: `taps` lines of `segments` runs of `length` floats.
struct Reach {
  int taps, segments, length;
  int64_t line, segment;
};

// `rows` outputs, whose inputs are `step` floats apart and they themselves `leap`.
template <int rows, int columns>
void pixels(const float* x, int64_t step, const Reach& reach, const float* w, float* y,
            int64_t leap, int width) {
  Vector sum[rows][columns] = {};
  for (int k = 0; k < reach.taps; ++k)
    for (int l = 0; l < reach.segments; ++l) {
      const float* p = x + k * reach.line + l * reach.segment;
      for (int t = 0; t < reach.length; ++t, w += columns * kLanes)
#pragma GCC unroll 16
        for (int r = 0; r < rows; ++r)
#pragma GCC unroll 2
          for (int c = 0; c < columns; ++c)
            sum[r][c] += p[r * step + t] * *(const Vector*)(w + c * kLanes);
    }
  for (int r = 0; r < rows; ++r) std::memcpy(y + r * leap, sum[r], 4 * width);
}

// A run of pixels, in images of lines: how many, and how far apart in x and in g.
struct Grid {
  int images, lines, pixels;
  int64_t x_image, x_line, x_pixel, g_image, g_line;
};

// `rows` rows of the kernel's derivative, which are consecutive in x: y += sum of x times g.
template <int rows, int columns>
void weights(const float* x, const float* g, const Grid& grid, float* y, int64_t leap, int width) {
  Vector sum[rows][columns] = {};
  for (int b = 0; b < grid.images; ++b)
    for (int i = 0; i < grid.lines; ++i) {
      const float* p = x + b * grid.x_image + i * grid.x_line;
      const float* q = g + b * grid.g_image + i * grid.g_line;
      for (int j = 0; j < grid.pixels; ++j, p += grid.x_pixel, q += columns * kLanes)
#pragma GCC unroll 16
        for (int r = 0; r < rows; ++r)
#pragma GCC unroll 2
          for (int c = 0; c < columns; ++c)
            sum[r][c] += p[r] * *(const Vector*)(q + c * kLanes);
    }
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < width; ++c) y[r * leap + c] += ((const float*)sum[r])[c];
}

// Output channels, some vectors at a time.
struct Panels {
  int channels;
  int count() const { return over(channels, kWidth); }
  int first(int i) const { return i * kWidth; }
  int columns(int i) const { return channels - first(i) > kLanes ? kColumns : 1; }
  int width(int i) const { return std::min(columns(i) * kLanes, channels - first(i)); }
};

// y = conv(x, kernel), or, transposed, its derivative by the images; x and y as the call has them.
ffi::Error correlate(ffi::ThreadPool pool, Images x, Images kernel, Result y, Sizes stride,
                     Sizes dilation, Sizes before, bool transposed) {
  auto from = x.dimensions(), to = y->dimensions(), size = kernel.dimensions();
  auto phases = [&](int axis) {
    return (transposed ? backward : forward)(to[1 + axis], size[axis], stride[axis],
                                             dilation[axis], before[axis]);
  };
  const Phases down = phases(0), across = phases(1);
  const int batch = from[0], inputs = from[3];
  // A power of two apart, pixels would fall into the same lines of the cache.
  const int64_t pixel = inputs % 256 ? inputs : inputs + kLanes;
  const Margin rows = margin(down, from[1]), columns = margin(across, from[2]);
  const Padded padded{from[1], from[2], inputs, pixel, rows, columns};
  const Panels panels{int(to[3])};

  // The kernel as tiles read it: by pair of phases, panel, tap and input.
  struct Pack {
    const Phase *a, *b;
    int64_t at, panel;
  };
  std::vector<Pack> packs;
  int64_t total = 0;
  for (const Phase& a : down)
    for (const Phase& b : across) {
      packs.push_back({&a, &b, total, int64_t(a.taps) * b.taps * inputs * kWidth});
      total += panels.count() * packs.back().panel;
    }
  std::unique_ptr<float[]> packed(new float[total]);
  parallel(pool, panels.count(), [&](int panel) {
    int first = panels.first(panel), width = panels.width(panel);
    int lanes = panels.columns(panel) * kLanes;
    for (auto& [a, b, at, length] : packs) {
      float* w = &packed[at + panel * length];
      for (int k = 0; k < a->taps; ++k)
        for (int l = 0; l < b->taps; ++l) {
          int64_t tap = (a->key + a->turn * k) * size[1] + b->key + b->turn * l;
          const float* p = kernel.typed_data() + tap * size[2] * size[3];
          for (int i = 0; i < inputs; ++i, w += lanes) {
            for (int o = first; o < first + width; ++o)
              w[o - first] = transposed ? p[o * size[3] + i] : p[i * size[3] + o];
            std::fill(w + width, w + lanes, 0.f);
          }
        }
    }
  });

  // A tile's pixels lie along the width, or, where that is short, along the batch.
  const bool along = across[0].count < 8 && across[0].count < batch;
  const int groups = along ? over(batch, kRows) : batch;
  const int parts = groups < 2 * cores() ? panels.count() : 1;
  parallel(pool, groups * parts, [&](int task) {
    thread_local Floats buffer;
    const int group = task / parts, part = task % parts;
    const int64_t begin = share(batch, group, groups);
    const int64_t images = share(batch, group + 1, groups) - begin;
    const int64_t apart = padded.image() + kLanes;  // no power of two either
    buffer.assign(images * apart, 0);
    const float* image = x.typed_data() + begin * from[1] * from[2] * inputs;
    for (int64_t n = 0; n < images; ++n, image += from[1] * from[2] * inputs)
      padded.copy(image, 0, inputs, &buffer[n * apart]);

    const int last = share(panels.count(), part + 1, parts);
    for (int panel = share(panels.count(), part, parts); panel < last; ++panel)
      for (auto& [a, b, at, length] : packs) {
        bool joined = pixel == inputs && (b->gap == 1 || b->taps == 1);  // a line's taps touch
        Reach reach{a->taps, joined ? 1 : b->taps, joined ? b->taps * inputs : inputs,
                    a->gap * padded.row(), b->gap * pixel};
        const int64_t step = b->stride * pixel, leap = b->step * to[3];
        auto tile = [&](int rows, const float* p, int64_t step, float* q, int64_t leap) {
          CALL(pixels, rows, panels.columns(panel), p, step, reach, &packed[at + panel * length], q,
               leap, panels.width(panel));
        };
        for (int i = 0; i < a->count; ++i) {
          const float* p = &buffer[padded.at(a->start + a->stride * i, b->start)];
          float* q = y->typed_data() + panels.first(panel) +
                     ((begin * to[1] + a->first + a->step * i) * to[2] + b->first) * to[3];
          if (along)
            for (int j = 0; j < b->count; ++j)
              tile(images, p + j * step, apart, q + j * leap, to[1] * to[2] * to[3]);
          else
            for (int k = 0, n = over(b->count, kRows); k < n; ++k) {
              int64_t j = share(b->count, k, n);
              tile(share(b->count, k + 1, n) - j, p + j * step, step, q + j * leap, leap);
            }
        }
      }
  });
  return ffi::Error::Success();
}

ffi::Error Forward(ffi::ThreadPool pool, Images x, Images kernel, Result y, Sizes stride,
                   Sizes dilation, Sizes before) {
  return correlate(pool, x, kernel, y, stride, dilation, before, false);
}

ffi::Error ByImages(ffi::ThreadPool pool, Images g, Images kernel, Result dx, Sizes stride,
                    Sizes dilation, Sizes before) {
  return correlate(pool, g, kernel, dx, stride, dilation, before, true);
}

ffi::Error ByKernel(ffi::ThreadPool pool, Images x, Images g, Result dk, Sizes stride,
                    Sizes dilation, Sizes before) {
  auto from = x.dimensions(), to = g.dimensions(), size = dk->dimensions();
  const Phase a = forward(to[1], size[0], stride[0], dilation[0], before[0])[0];
  const Phase b = forward(to[2], size[1], stride[1], dilation[1], before[1])[0];
  const int batch = from[0], inputs = from[3];
  const Panels panels{int(to[3])};

  // Rows of a tile: some inputs of one tap, or, of few inputs, those of several taps that touch.
  const int blocks = over(inputs, kRows);
  const int joined = blocks == 1 && b.gap == 1 ? std::min(b.taps, kRows / inputs) : 1;
  const int runs = over(b.taps, joined);
  const int tiles = panels.count() * blocks * a.taps * runs;

  // Threads have images of their own and add their sums up, or, for a large kernel, tiles.
  const int64_t total = dk->element_count();
  const int parts = total < (1 << 16) ? std::clamp(batch, 1, cores()) : 1;
  const int slices = parts == 1 ? std::min(cores(), tiles) : 1;
  float* result = dk->typed_data();
  std::fill_n(result, total, 0.f);
  Floats others((parts - 1) * total);
  parallel(pool, parts * slices, [&](int task) {
    thread_local Floats xs, gs;
    const int part = task / slices, slice = task % slices;
    float* sum = part ? &others[(part - 1) * total] : result;
    const Margin rows = margin({a}, from[1]), columns = margin({b}, from[2]);
    auto block_of = [&](int i) {
      int64_t first = share(inputs, i, blocks), some = share(inputs, i + 1, blocks) - first;
      return std::pair(first, Padded{from[1], from[2], inputs, some, rows, columns});
    };
    // What a tile goes over shall fit into a quarter of a MiB.
    const int64_t pair = block_of(blocks - 1).second.image() + to[1] * to[2] * kWidth;
    const int chunk = std::max<int64_t>(1, (1 << 16) / pair);
    const int last = share(batch, part + 1, parts);
    for (int n = share(batch, part, parts); n < last; n += chunk) {
      const int images = std::min(chunk, last - n);
      const int64_t pixels = images * block_of(0).second.image() / block_of(0).second.pixel;
      xs.assign(pixels * inputs, 0);
      for (int i = 0; i < blocks; ++i) {
        auto [first, padded] = block_of(i);
        const float* image = x.typed_data() + n * from[1] * from[2] * inputs;
        for (int m = 0; m < images; ++m, image += from[1] * from[2] * inputs)
          padded.copy(image, first, padded.pixel, &xs[first * pixels + m * padded.image()]);
      }
      int at = -1;  // the panel of g that is packed
      const int end = share(tiles, slice + 1, slices);
      for (int tile = share(tiles, slice, slices); tile < end; ++tile) {
        const int run = tile % runs, k = tile / runs % a.taps;
        const int block = tile / runs / a.taps % blocks, panel = tile / runs / a.taps / blocks;
        const int vectors = panels.columns(panel), width = panels.width(panel);
        const Padded flat{to[1], to[2], to[3], vectors * kLanes};
        const float* image = g.typed_data() + n * to[1] * to[2] * to[3];
        const bool as_it_is = width == to[3] && width == flat.pixel;
        if (!as_it_is && at != panel) {
          gs.assign(images * flat.image(), 0);
          for (int m = 0; m < images; ++m)
            flat.copy(image + m * to[1] * to[2] * to[3], panels.first(panel), width,
                      &gs[m * flat.image()]);
          at = panel;
        }
        auto [first, padded] = block_of(block);
        const int l = run * joined, taps = std::min(joined, b.taps - l);
        const float* p = &xs[first * pixels + padded.at(a.start + k * a.gap, b.start + l * b.gap)];
        const Grid grid{images, a.count, b.count, padded.image(), padded.row() * a.stride,
                        padded.pixel * b.stride, flat.image(), flat.row()};
        float* y = sum + ((k * size[1] + l) * inputs + first) * to[3] + panels.first(panel);
        CALL(weights, int(taps * padded.pixel), vectors, p, as_it_is ? image : gs.data(), grid, y,
             to[3], width);
      }
    }
  });
  for (int part = 1; part < parts; ++part)
    for (int64_t i = 0; i < total; ++i) result[i] += others[(part - 1) * total + i];
  return ffi::Error::Success();
}

}  // namespace

#define HANDLER(name, function)                                     \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, function,                     \
                                ffi::Ffi::Bind()                    \
                                    .Ctx<ffi::ThreadPool>()         \
                                    .Arg<Images>()                  \
                                    .Arg<Images>()                  \
                                    .Ret<Images>()                  \
                                    .Attr<Sizes>("stride")          \
                                    .Attr<Sizes>("dilation")        \
                                    .Attr<Sizes>("before"))

HANDLER(nnjax_conv, Forward);
HANDLER(nnjax_conv_by_images, ByImages);
HANDLER(nnjax_conv_by_kernel, ByKernel);
