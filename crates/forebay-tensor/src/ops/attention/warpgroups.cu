// `attention_warpgroups_f16`: attention of many positions over caches of f16 that are 128 wide, on cards of 9.0.
//
// A block owns 128 rows, heads of one key-value head at some positions. Four warps bring tiles of 128 keys and values to shared memory;
// two warpgroups have 64 rows each, queries in shared memory too, weights and sums in registers. While one of them makes weights of scores the other
// multiplies. Scores, maxima and sums are f32; what is not finite among values is treated as in `matrix.cu`.
//
// Queries and keys lie in two bricks of 64 columns, as `tiles/cuda/images.cuh` draws them; values too, and are read turned.

#define WARPS 12
#define ROWS 128

#include "../../tiles/cuda/copy.cuh"
#include "../../tiles/cuda/warpgroup.cuh"
#include "rows.cuh"

#define GROUP 128
#define OWN 64
#define WIDTH 128
#define KEYS 128
#define EIGHT 8
#define BRICK (KEYS * 128)
#define TILE (2 * BRICK)
#define STAGES 2
#define QUERIES (OWN * WIDTH * 2)
#define BRINGS 56
#define MULTIPLIES 224

#if HAS_WARPGROUPS

// Where eight columns of a row are, in bricks of so many rows.
template <int HIGH = KEYS> __device__ __forceinline__ uint32_t piece_of(uint32_t row, uint32_t piece) {
    return piece / 8 * (HIGH * 128) + row * 128 + (piece % 8 ^ row % 8) * PIECE;
}

// The threads that bring copy a tile of a cache; keys past the end are zeros.
__device__ __forceinline__ void fetch(uint8_t *tile, const uint16_t *cache, uint32_t slot, uint32_t there, uint32_t capacity) {
    const bool whole = (uintptr_t)cache % PIECE == 0;
#pragma unroll 4
    for (uint32_t i = threadIdx.x; i < KEYS * WIDTH / EIGHT; i += GROUP) {
        const uint32_t key = i / (WIDTH / EIGHT), piece = i % (WIDTH / EIGHT);
        uint32_t at = slot + key;
        if (at >= capacity) at -= capacity;
        const uint16_t *from = key < there ? cache + (size_t)at * WIDTH + piece * EIGHT : cache;
        uint8_t *to = tile + piece_of(key, piece);
        if (whole) {
            copy_piece(to, from, key < there);
        } else {
            for (int e = 0; e < EIGHT; e++) ((uint16_t *)to)[e] = key < there ? from[e] : 0;
        }
    }
}

// Takes out of a tile of values what is not finite, and notes of which keys it was.
__device__ void clean(uint8_t *values, uint32_t *spoiled) {
    constexpr uint32_t MASK = Half::ENDLESS << 16 | Half::ENDLESS, LOWEST = MASK & ~(MASK << 1);
    auto endless = [](uint32_t both) { return ((both & MASK) + LOWEST & 0x80008000u) != 0; };
#pragma unroll 1
    for (uint32_t i = threadIdx.x; i < KEYS * WIDTH / EIGHT; i += GROUP) {
        const uint32_t key = i / (WIDTH / EIGHT), piece = i % (WIDTH / EIGHT);
        uint4 *at = (uint4 *)(values + piece_of(key, piece)), x = *at;
        if (endless(x.x) || endless(x.y) || endless(x.z) || endless(x.w)) {
            *at = make_uint4(0, 0, 0, 0);
            atomicOr(&spoiled[key / WARP], 1u << key % WARP);
        }
    }
}

// The caches of a block's rows, from the first position that any of them sees on.
struct Caches {
    const uint16_t *keys, *values;
    uint32_t slot, end, capacity;
};

struct Barriers {
    uint64_t full[STAGES], empty[STAGES];
};

// What the four warps do that bring. Copies are made by threads, so that these say when all can see them.
__device__ __forceinline__ void bring(const Caches &caches, const Span &span, uint8_t *tiles, Room &room, Barriers &barriers) {
    Turn<STAGES> turn, done;
    auto finish = [&](uint32_t first) {
        if (span.cuts(first, KEYS)) {
            asm volatile("bar.sync 1, 128;" ::: "memory");
            clean(tiles + done.stage * 2 * TILE + TILE, room.spoiled[done.stage]);
        }
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
        barrier_arrive(shared_address(&barriers.full[done.stage]));
        done.next();
    };
    for (uint32_t first = 0; first < caches.end; first += KEYS, turn.next()) {
        barrier_wait(shared_address(&barriers.empty[turn.stage]), turn.parity ^ 1);
        if (threadIdx.x < KEYS / WARP) room.spoiled[turn.stage][threadIdx.x] = 0;
        const uint32_t at = caches.slot + first < caches.capacity ? caches.slot + first : caches.slot + first - caches.capacity;
        uint8_t *to = tiles + turn.stage * 2 * TILE;
        fetch(to, caches.keys, at, caches.end - first, caches.capacity);
        fetch(to + TILE, caches.values, at, caches.end - first, caches.capacity);
        end_group();
        if (first > 0) {
            await<1>();
            finish(first - KEYS);
        }
    }
    await<0>();
    if (caches.end > 0) finish((caches.end - 1) / KEYS * KEYS);
}

// The weights of a tile's scores, and how much what was summed before still counts.
__device__ __forceinline__ void weigh(float (&s)[KEYS / 2], Row (&rows)[2], float (&fade)[2]) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
        Row &row = rows[half];
        float most = row.most;
#pragma unroll
        for (int i = 0; i < KEYS / 8; i++) most = fmaxf(most, fmaxf(s[4 * i + 2 * half], s[4 * i + 2 * half + 1]));
        most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
        most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
        // Where nothing was seen yet, differences to it would be no numbers.
        const float base = most == -INFINITY ? 0.0f : __fmul_rn(most, LOG2_E);
        fade[half] = power_of_two(__fmul_rn(row.most, LOG2_E) - base);
        float sum = row.sum * fade[half];
#pragma unroll
        for (int i = 0; i < KEYS / 4; i++) {
            float &score = s[i / 2 * 4 + 2 * half + i % 2];
            score = power_of_two(score * LOG2_E - base);
            sum += score;
        }
        row.sum = sum, row.most = most;
    }
}

__device__ __forceinline__ void attend(const Arguments &a) {
    extern __shared__ uint8_t shared[];
    __shared__ Room room;
    __shared__ Barriers barriers;
    uint8_t *tiles = shared + (1024 - shared_address(shared) % 1024) % 1024;
    const uint32_t own = a.heads / a.groups, all = a.count * own, chunks = (all + ROWS - 1) / ROWS;
    // Late rows see more, so they begin first.
    const uint32_t group = blockIdx.x / chunks, first_row = (chunks - 1 - blockIdx.x % chunks) * ROWS;
    const Sight sight(a.positions, a.count, a.capacity, a.after, a.length, room.largest);
    const Seen range = look(sight, first_row, all, own, room);
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) {
            barrier_init(shared_address(&barriers.full[i]), GROUP);
            barrier_init(shared_address(&barriers.empty[i]), 2 * GROUP / WARP);
        }
        barriers_are_ready();
    }
    __syncthreads();
    const Caches caches = {
        a.keys + (size_t)group * a.capacity * WIDTH,
        a.values + (size_t)group * a.capacity * WIDTH,
        (uint32_t)(range.start % max(a.capacity, 1u)),
        (uint32_t)(range.end - range.start),
        a.capacity,
    };
    const Span block_span = span_of(room, 0, ROWS);
    if (threadIdx.x < GROUP) {
        fewer_registers<BRINGS>();
        bring(caches, block_span, tiles, room, barriers);
        return;
    }
    more_registers<MULTIPLIES>();
    const uint32_t warp = threadIdx.x / WARP - GROUP / WARP, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    const Span span = span_of(room, warp / 4 * OWN, OWN);
    uint8_t *queries = tiles + STAGES * 2 * TILE + warp / 4 * QUERIES;
    for (uint32_t i = threadIdx.x % GROUP; i < OWN * WIDTH / EIGHT; i += GROUP) {
        const uint32_t of = i / (WIDTH / EIGHT), piece = i % (WIDTH / EIGHT), row = first_row + warp / 4 * OWN + of;
        uint32_t eight[4] = {};
        if (row < all) {
            const float *x = a.q + ((size_t)(row / own) * a.heads + group * own + row % own) * WIDTH + piece * EIGHT;
#pragma unroll
            for (int e = 0; e < 4; e++) eight[e] = Half::pack(x[2 * e] * a.scale, x[2 * e + 1] * a.scale);
        }
        *(uint4 *)(queries + piece_of<OWN>(of, piece)) = make_uint4(eight[0], eight[1], eight[2], eight[3]);
    }
    // All of a warpgroup see what all of it wrote.
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    asm volatile("bar.sync %0, 128;" ::"r"(2 + warp / 4) : "memory");
    Row rows[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const uint32_t of = warp * 16 + g + half * 8;
        rows[half] = {-INFINITY, 0.0f, room.row_start[of], room.row_end[of]};
    }
    float sums[WIDTH / 2];
#pragma unroll
    for (int i = 0; i < WIDTH / 2; i++) sums[i] = 0.0f;
    Turn<STAGES> turn;
    for (uint32_t first = 0; first < caches.end; first += KEYS, turn.next()) {
        barrier_wait(shared_address(&barriers.full[turn.stage]), turn.parity);
        // Tiles that nobody here sees are few, and warps that go different ways could not multiply together.
        const uint32_t keys = shared_address(tiles) + turn.stage * 2 * TILE, values = keys + TILE, own_queries = shared_address(queries);
        const uint32_t *spoiled = room.spoiled[turn.stage];
        float s[KEYS / 2];
        products_begin();
#pragma unroll
        for (int step = 0; step < WIDTH / 16; step++) {
            const uint64_t x = turned_rows(own_queries + step / 4 * (QUERIES / 2)), key = turned_rows(keys + step / 4 * BRICK);
            add_products(s, x + 2 * (step % 4), key + 2 * (step % 4), step > 0);
        }
        products_commit();
        products_wait<0>();
        settle(s);
        if (a.softcap > 0.0f) {
            const float steep = 2.0f * LOG2_E / a.softcap;
#pragma unroll
            for (int i = 0; i < KEYS / 2; i++) s[i] = a.softcap * bent(s[i] * steep);
        }
        if (span.cuts(first, KEYS) || spoiled[0] || spoiled[1] || spoiled[2] || spoiled[3]) {
#pragma unroll
            for (int i = 0; i < KEYS / 2; i++) {
                const uint32_t key = i / 4 * 8 + 2 * t + i % 2, at = first + key;
                const Row &row = rows[i / 2 % 2];
                const bool seen = at >= row.start && at < row.end, bad = spoiled[i / 16] >> key % WARP & 1;
                s[i] = !seen ? -INFINITY : bad ? not_a_number() : s[i];
            }
        }
        float fade[2];
        weigh(s, rows, fade);
#pragma unroll
        for (int i = 0; i < WIDTH / 2; i++) sums[i] *= fade[i / 2 % 2];
        uint32_t weights[KEYS / 4];
#pragma unroll
        for (int i = 0; i < KEYS / 4; i++) weights[i] = Half::pack(s[2 * i], s[2 * i + 1]);
        settle(sums);
        settle(weights);
        products_begin();
#pragma unroll
        for (int step = 0; step < KEYS / 16; step++) {
            add_turned_products(sums, weights + 4 * step, turned_columns(values + step * 16 * 128, BRICK));
        }
        products_commit();
        products_wait<0>();
        settle(sums);
        if (lane == 0) barrier_arrive(shared_address(&barriers.empty[turn.stage]));
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const uint32_t row = first_row + warp * 16 + g + half * 8, head = group * own + row % own;
        float sum = rows[half].sum;
        sum += __shfl_xor_sync(~0u, sum, 1);
        sum += __shfl_xor_sync(~0u, sum, 2);
        if (row >= all) continue;
        const Seen seen = sight.seen(row / own);
        float factor = last_factor(rows[half].most, sum, a.sinks ? a.sinks + head : nullptr);
        if (seen.start >= seen.end) factor = not_a_number();
        float *out = a.out + ((size_t)(row / own) * a.heads + head) * WIDTH;
#pragma unroll
        for (int block = 0; block < WIDTH / 8; block++) {
            const uint32_t column = block * 8 + 2 * t;
            out[column] = sums[4 * block + 2 * half] * factor;
            out[column + 1] = sums[4 * block + 2 * half + 1] * factor;
        }
    }
}
#else
__device__ void attend(const Arguments &) {}
#endif

// Of the sizes of the launch, those at the end are what other kernels go by.
KERNEL __launch_bounds__(WARPS *WARP, 1) attention_warpgroups_f16(
    const float *q, const uint16_t *keys, const uint16_t *values, const uint32_t *positions, const float *sinks, float *out,
    uint32_t heads, uint32_t groups, float scale, float softcap, uint32_t after, uint32_t length, uint32_t count, uint32_t width,
    uint32_t value_width, uint32_t capacity, uint32_t, uint32_t, uint32_t
) {
    begin();
    attend({q, keys, values, positions, sinks, out, heads, groups, scale, softcap, after, length, count, width, value_width, capacity});
}
