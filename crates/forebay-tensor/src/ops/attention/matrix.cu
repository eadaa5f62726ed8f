// `attention_matrix_*`: attention of many positions over caches of f16 and bf16, by products of matrices that are summed in f32.
//
// A block owns 64 rows, heads of one key-value head at some positions, of which each warp has 16. It goes through what they see a tile at
// a time, while the next tile comes to shared memory. Queries, already scaled, and weights are rounded to the type of the cache; scores,
// maxima and sums are f32. Weights never leave registers: what a lane holds of sums of a product is what it has to hold of the left
// matrix of the next one.
//
// Values that are not finite are the one thing that a weight of zero does not take away. So in tiles that not all rows see whole they
// become zero, and whoever sees such a key gets what is not a number as its score.

#include "../../tiles/cuda/copy.cuh"

#define WARPS 4
// Rows of a warp and of a block; `cuda.rs` has the latter, and the keys of a tile.
#define OWN 16
#define ROWS (OWN * WARPS)
#define THREADS (WARP * WARPS)
// Elements of a piece, and those that rows of tiles are longer, so that eight rows begin in different banks.
#define EIGHT 8

#include "rows.cuh"

// Copies the rows of a cache that does not begin at a multiple of a piece.
__device__ __noinline__ void fetch_slowly(uint16_t *tile, const uint16_t *cache, uint32_t width, uint32_t slot,
                                          uint32_t there, uint32_t capacity, uint32_t stride, uint32_t keys) {
#pragma unroll 1
    for (uint32_t i = threadIdx.x; i < keys * width; i += THREADS) {
        uint32_t key = i / width, column = i % width, at = slot + key;
        if (at >= capacity) at -= capacity;
        tile[key * stride + column] = key < there ? cache[(size_t)at * width + column] : 0;
    }
}

// Copies rows of a cache to a tile; keys past the end are zeros.
template <int WIDTH, int KEYS>
__device__ __forceinline__ void fetch(uint16_t *tile, const uint16_t *cache, uint32_t width, uint32_t slot, uint32_t there,
                                      uint32_t capacity) {
    constexpr uint32_t STRIDE = WIDTH + EIGHT, PIECES = WIDTH / EIGHT;
    if ((uintptr_t)cache % PIECE) return fetch_slowly(tile, cache, width, slot, there, capacity, STRIDE, KEYS);
#pragma unroll 2
    for (uint32_t i = threadIdx.x; i < KEYS * PIECES; i += THREADS) {
        uint32_t key = i / PIECES, column = i % PIECES * EIGHT, at = slot + key;
        if (column >= width) continue;
        if (at >= capacity) at -= capacity;
        const uint16_t *from = key < there ? cache + (size_t)at * width + column : cache;
        copy_piece(tile + key * STRIDE + column, from, key < there);
    }
}

// Takes out of a tile of values what is not finite, and notes of which keys it was.
template <class T, int WIDTH, int KEYS>
__device__ void clean(uint16_t *values, uint32_t width, uint32_t *spoiled) {
    constexpr uint32_t STRIDE = WIDTH + EIGHT, PIECES = WIDTH / EIGHT;
    constexpr uint32_t MASK = T::ENDLESS << 16 | T::ENDLESS, LOWEST = MASK & ~(MASK << 1);
    auto endless = [](uint32_t both) { return ((both & MASK) + LOWEST & 0x80008000u) != 0; };
#pragma unroll 1
    for (uint32_t i = threadIdx.x; i < KEYS * PIECES; i += THREADS) {
        uint32_t key = i / PIECES, column = i % PIECES * EIGHT;
        if (column >= width) continue;
        uint4 *piece = (uint4 *)(values + key * STRIDE + column);
        uint4 x = *piece;
        if (endless(x.x) || endless(x.y) || endless(x.z) || endless(x.w)) {
            *piece = make_uint4(0, 0, 0, 0);
            atomicOr(&spoiled[key / WARP], 1u << key % WARP);
        }
    }
}

template <class T, int WIDTH, int KEYS>
__device__ __forceinline__ void attend(const Arguments &a) {
    constexpr uint32_t STRIDE = WIDTH + EIGHT, STEPS = WIDTH / 16, BLOCKS = KEYS / 8;
    extern __shared__ __align__(16) uint16_t tiles[];
    __shared__ Room room;
    uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    uint32_t own = a.heads / a.groups, all = a.count * own, chunks = (all + ROWS - 1) / ROWS;
    // Late rows see more, so they begin first.
    uint32_t group = blockIdx.x / chunks, first_row = (chunks - 1 - blockIdx.x % chunks) * ROWS;
    Sight sight(a.positions, a.count, a.capacity, a.after, a.length, room.largest);
    Seen range = look(sight, first_row, all, own, room);
    Span block_span = span_of(room, 0, ROWS), span = span_of(room, warp * OWN, OWN);
    uint32_t end = (uint32_t)(range.end - range.start), slot = (uint32_t)(range.start % max(a.capacity, 1u));

    // What lies beyond the width of a cache stays zero.
    constexpr uint32_t TILE = KEYS * STRIDE;
#pragma unroll 1
    for (uint32_t i = threadIdx.x; i < 4 * TILE / EIGHT; i += THREADS) ((uint4 *)tiles)[i] = make_uint4(0, 0, 0, 0);
    if (threadIdx.x < 4) room.spoiled[threadIdx.x / 2][threadIdx.x % 2] = 0;
    __syncthreads();

    const uint16_t *keys = a.keys + (size_t)group * a.capacity * a.width;
    const uint16_t *values = a.values + (size_t)group * a.capacity * a.value_width;
    auto fetch_tile = [&](uint32_t first, uint32_t stage) {
        if (first < end) {
            uint32_t at = slot + first < a.capacity ? slot + first : slot + first - a.capacity;
            uint16_t *to = tiles + stage * 2 * TILE;
            fetch<WIDTH, KEYS>(to, keys, a.width, at, end - first, a.capacity);
            fetch<WIDTH, KEYS>(to + TILE, values, a.value_width, at, end - first, a.capacity);
        }
        end_group();
    };
    uint32_t q[STEPS][4];
    Row rows[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        uint32_t of = warp * OWN + g + half * 8, row = first_row + of;
        rows[half] = {-INFINITY, 0.0f, room.row_start[of], room.row_end[of]};
        const float *query = a.q + ((size_t)(row / own) * a.heads + group * own + row % own) * a.width;
        auto at = [&](uint32_t e) { return row < all && e < a.width ? query[e] * a.scale : 0.0f; };
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
            uint32_t e = step * 16 + 2 * t;
            q[step][half] = T::pack(at(e), at(e + 1));
            q[step][half + 2] = T::pack(at(e + 8), at(e + 9));
        }
    }

    float sums[WIDTH / 8][4] = {};
    uint32_t stage = 1;
    // Each turn has the next tile fetched; in the first one there is none to work on.
#pragma unroll 1
    for (uint32_t next = 0; next < end + KEYS; next += KEYS, stage ^= 1) {
        await<0>();
        __syncthreads();
        if (threadIdx.x < 2) room.spoiled[stage ^ 1][threadIdx.x] = 0;
        fetch_tile(next, stage ^ 1);
        if (next == 0) continue;
        uint32_t first = next - KEYS;
        const uint16_t *key_tile = tiles + stage * 2 * TILE, *value_tile = key_tile + TILE;
        const uint32_t *spoiled = room.spoiled[stage];
        if (block_span.cuts(first, KEYS)) {
            clean<T, WIDTH, KEYS>((uint16_t *)value_tile, a.value_width, room.spoiled[stage]);
            __syncthreads();
        }
        if (span.misses(first, KEYS)) continue;

        float s[BLOCKS][4] = {};
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
#pragma unroll
            for (int pair = 0; pair < BLOCKS / 2; pair++) {
                uint32_t b[4], key = pair * 16 + lane / 16 * 8 + lane % 8;
                load_matrices(b, key_tile + key * STRIDE + step * 16 + lane / 8 % 2 * 8);
                T::multiply(s[2 * pair], q[step], b[0], b[1]);
                T::multiply(s[2 * pair + 1], q[step], b[2], b[3]);
            }
        }
        if (a.softcap > 0.0f) {
            float steep = 2.0f * LOG2_E / a.softcap;
#pragma unroll
            for (int block = 0; block < BLOCKS; block++) {
#pragma unroll
                for (int i = 0; i < 4; i++) s[block][i] = a.softcap * bent(s[block][i] * steep);
            }
        }
        if (span.cuts(first, KEYS) || spoiled[0] || spoiled[1]) {
#pragma unroll
            for (int block = 0; block < BLOCKS; block++) {
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    uint32_t key = block * 8 + 2 * t + i % 2, at = first + key;
                    bool seen = at >= rows[i / 2].start && at < rows[i / 2].end;
                    bool bad = spoiled[block / 4] >> key % WARP & 1;
                    s[block][i] = !seen ? -INFINITY : bad ? not_a_number() : s[block][i];
                }
            }
        }

        float fade[2];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            Row &row = rows[half];
            float most = row.most;
#pragma unroll
            for (int block = 0; block < BLOCKS; block++) {
                most = fmaxf(most, fmaxf(s[block][2 * half], s[block][2 * half + 1]));
            }
            most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
            most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
            // Where nothing was seen yet, differences to it would be no numbers.
            float base = most == -INFINITY ? 0.0f : most;
            fade[half] = power_of_two((row.most - base) * LOG2_E);
            row.sum *= fade[half], row.most = most;
#pragma unroll
            for (int block = 0; block < BLOCKS; block++) {
#pragma unroll
                for (int i = 2 * half; i < 2 * half + 2; i++) {
                    s[block][i] = power_of_two((s[block][i] - base) * LOG2_E);
                    row.sum += s[block][i];
                }
            }
        }
        if (__any_sync(~0u, fade[0] != 1.0f || fade[1] != 1.0f)) {
#pragma unroll
            for (int block = 0; block < WIDTH / 8; block++) {
#pragma unroll
                for (int i = 0; i < 4; i++) sums[block][i] *= fade[i / 2];
            }
        }
#pragma unroll
        for (int step = 0; step < KEYS / 16; step++) {
            uint32_t weights[4];
#pragma unroll
            for (int i = 0; i < 4; i++) weights[i] = T::pack(s[2 * step + i / 2][i % 2 * 2], s[2 * step + i / 2][i % 2 * 2 + 1]);
#pragma unroll
            for (int pair = 0; pair < WIDTH / 16; pair++) {
                uint32_t b[4];
                load_matrices_turned(b, value_tile + (step * 16 + lane % 16) * STRIDE + pair * 16 + lane / 16 * 8);
                T::multiply(sums[2 * pair], weights, b[0], b[1]);
                T::multiply(sums[2 * pair + 1], weights, b[2], b[3]);
            }
        }
    }
    await<0>();

#pragma unroll
    for (int half = 0; half < 2; half++) {
        uint32_t row = first_row + warp * OWN + g + half * 8, head = group * own + row % own;
        float sum = rows[half].sum;
        sum += __shfl_xor_sync(~0u, sum, 1);
        sum += __shfl_xor_sync(~0u, sum, 2);
        if (row >= all) continue;
        Seen seen = sight.seen(row / own);
        float factor = last_factor(rows[half].most, sum, a.sinks ? a.sinks + head : nullptr);
        if (seen.start >= seen.end) factor = not_a_number();
        float *out = a.out + ((size_t)(row / own) * a.heads + head) * a.value_width;
#pragma unroll
        for (int block = 0; block < WIDTH / 8; block++) {
            uint32_t column = block * 8 + 2 * t;
            if (column >= a.value_width) continue;
            out[column] = sums[block][2 * half] * factor;
            out[column + 1] = sums[block][2 * half + 1] * factor;
        }
    }
}

template <class T>
__device__ __forceinline__ void narrow(const Arguments &a) {
    uint32_t widest = max(a.width, a.value_width);
    if (widest <= 64) return attend<T, 64, 64>(a);
    if (widest <= 96) return attend<T, 96, 64>(a);
    attend<T, 128, 64>(a);
}

// Of the sizes of the launch, those at the end are what other kernels go by.
#define MATRIX(NAME, BLOCKS, CALL)                                                                                    \
    KERNEL __launch_bounds__(THREADS, BLOCKS) NAME(                                                                   \
        const float *q, const uint16_t *keys, const uint16_t *values, const uint32_t *positions, const float *sinks,  \
        float *out, uint32_t heads, uint32_t groups, float scale, float softcap, uint32_t after, uint32_t length,     \
        uint32_t count, uint32_t width, uint32_t value_width, uint32_t capacity, uint32_t, uint32_t, uint32_t) {      \
        begin();                                                                                                      \
        CALL({q, keys, values, positions, sinks, out, heads, groups, scale, softcap, after, length, count, width,     \
              value_width, capacity});                                                                                \
    }

MATRIX(attention_matrix_f16, 3, narrow<Half>)
MATRIX(attention_matrix_bf16, 3, narrow<Bfloat>)
MATRIX(attention_matrix_wide_f16, 2, (attend<Half, 256, 32>))
MATRIX(attention_matrix_wide_bf16, 2, (attend<Bfloat, 256, 32>))
