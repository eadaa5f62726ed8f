// `attention_*`: attention in f32, for every type of cache, width and sight.
//
// A block owns `ROWS` rows: heads of one key-value head at some positions. It goes through what they see, or through one part of it, a
// tile at a time: tiles come to shared memory as they are, keys of the next while this one's values are summed. A warp has some keys of a
// tile for the scores, and some columns of the values for the sums. What a row does not see is never multiplied, not even by zero.
//
// Where the launch works in parts, a row gets a record for each: its sum of values, its largest score, its sum of weights; and
// `attention_join` joins those parts that are seen. How many positions a part has depends on how many are seen, so that a short past
// keeps the whole card busy as well.
//
// Where positions have places, a row of the grid is a launch of its own: of one position, over the cache of its place.

#include "../../tiles/cuda/cache.cuh"
#include "../../tiles/cuda/copy.cuh"
#include "sight.cuh"

#define WARPS 8
#define MOST_ROWS 8
#define MOST_TILE 64
// Keys that a warp multiplies at a time.
#define KEYS 4
// Positions of parts are a multiple of this, and there are at most so many parts; `mod.rs` has the same.
#define LEAST_PART 32
#define MOST_PARTS 64
// Times that all columns of a block's threads go into the widest row.
#define PASSES 2
// Parts that a thread asks for before it knows their factors.
#define HELD 16
// Threads of a block that joins; `cuda.rs` has the same.
#define JOIN_THREADS 512
// A weight that is none: its position is not seen.
#define UNSEEN (-1.0f)

struct Arguments {
    const float *q;
    const uint8_t *keys, *values;
    const uint32_t *positions;
    const float *sinks;
    float *out;
    uint32_t heads, groups;
    float scale, softcap;
    uint32_t after, length, count, width, value_width, capacity, parts, tile, rows;
    const uint32_t *places;
    uint32_t caches;
};

// What a row of the grid has of a launch whose positions have places. Of a place that is not there nobody sees anything.
template <class T> __device__ __forceinline__ void take_own(Arguments &a) {
    if (!a.places) return;
    uint32_t i = blockIdx.y, place = a.places[i];
    if (place >= a.caches) place = 0, a.capacity = 0;
    size_t first = (size_t)place * a.groups * a.capacity;
    a.q += (size_t)i * a.heads * a.width, a.positions += i, a.count = 1;
    a.keys += first * (a.width / T::ELEMENTS * T::BYTES), a.values += first * (a.value_width / T::ELEMENTS * T::BYTES);
    a.out += (size_t)i * a.heads * (a.parts ? a.parts * (a.value_width + 2) : a.value_width);
}

// Positions of a part, for so many that are seen.
__device__ __forceinline__ uint32_t part_length(Seen seen, uint32_t parts) {
    uint32_t length = ((uint32_t)(seen.end - seen.start) + parts - 1) / parts;
    return (length + LEAST_PART - 1) / LEAST_PART * LEAST_PART;
}

__device__ __forceinline__ Seen part_of(Seen seen, uint32_t part, uint32_t parts) {
    uint32_t length = part_length(seen, parts);
    uint64_t start = seen.start + (uint64_t)part * length;
    return {start, min(seen.end, start + length)};
}

// What the threads of a block share beside tiles.
struct Room {
    float scores[MOST_ROWS][MOST_TILE];
    __align__(16) float weights[MOST_TILE * MOST_ROWS];
    float most[MOST_ROWS], sum[MOST_ROWS], fade[MOST_ROWS];
    // What a row sees of the block's range, counted from where that begins.
    uint32_t start[MOST_ROWS], end[MOST_ROWS];
    bool seen[MOST_ROWS];
    uint32_t largest[WARP];
};

// Sums N values each over a warp; a lane gets that of value `lane / (WARP / N)`.
template <int N, int DISTANCE = WARP / 2>
__device__ __forceinline__ float sum_each(const float (&x)[N]) {
    if constexpr (N == 1) {
        float sum = x[0];
#pragma unroll
        for (int distance = DISTANCE; distance > 0; distance /= 2) sum += __shfl_xor_sync(~0u, sum, distance);
        return sum;
    } else {
        bool upper = threadIdx.x & DISTANCE;
        float half[N / 2];
#pragma unroll
        for (int i = 0; i < N / 2; i++) {
            float send = upper ? x[i] : x[i + N / 2], keep = upper ? x[i + N / 2] : x[i];
            half[i] = keep + __shfl_xor_sync(~0u, send, DISTANCE);
        }
        return sum_each<N / 2, DISTANCE / 2>(half);
    }
}

// Puts a query into shared memory, as f32; a warp does it. `stride` is even, and may be one more than `width`.
__device__ void load_query(const float *q, float *to, uint32_t width, uint32_t stride, bool there, bool rounded) {
#pragma unroll 1
    for (uint32_t e = threadIdx.x % WARP; e < (stride + WARP - 1) / WARP * WARP; e += WARP) {
        float x = there && e < width ? q[e] : 0.0f;
        if (rounded) {
            // As `quant/rounded.rs` has it: to nearest, ties to even, by a number that leaves no bits for fractions.
            float most = warp_max(isnan(x) ? 0.0f : fabsf(x)), scale = most / 127.0f;
            float inverse = scale == 0.0f || isinf(scale) ? 0.0f : 1.0f / scale;
            float code = isfinite(x) ? __fmul_rn(x, inverse) : 0.0f;
            code = fminf(fmaxf(code, -127.0f), 127.0f);
            x = scale * (float)(int8_t)__float_as_uint(__fadd_rn(code, 12582912.0f));
        }
        if (e < stride) to[e] = x;
    }
}

// Scores of all rows for the keys of a tile, also of keys that a row does not see, where they mean nothing.
template <class T, int ROWS>
__device__ void score_tile(const Arguments &a, const float *queries, uint32_t stride, const uint8_t *keys,
                           uint32_t row_bytes, bool even, uint32_t tile, Room &room) {
    uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
#pragma unroll 1
    for (uint32_t first = warp * KEYS; first < tile; first += WARPS * KEYS) {
        float sums[KEYS * ROWS] = {};
#pragma unroll 1
        for (uint32_t e = 2 * lane; e < a.width; e += 2 * WARP) {
            bool both = e + 1 < a.width;
            float2 k[KEYS];
#pragma unroll
            for (int key = 0; key < KEYS; key++) {
                k[key] = T::pair(keys + min(first + key, tile - 1) * row_bytes, e, both, even);
            }
#pragma unroll
            for (int row = 0; row < ROWS; row++) {
                float2 q = *(const float2 *)(queries + row * stride + e);
#pragma unroll
                for (int key = 0; key < KEYS; key++) {
                    float &sum = sums[key * ROWS + row];
                    sum = fmaf(q.x, k[key].x, sum);
                    sum = fmaf(q.y, k[key].y, sum);
                }
            }
        }
        float score = sum_each(sums) * a.scale;
        if (a.softcap > 0.0f) score = a.softcap * tanhf(score / a.softcap);
        constexpr uint32_t LANES = WARP / (KEYS * ROWS);
        uint32_t key = lane / LANES / ROWS, row = lane / LANES % ROWS;
        if (lane % LANES == 0 && first + key < tile) room.scores[row][first + key] = score;
    }
}

// Makes weights of scores, a warp a row.
template <int ROWS>
__device__ void weigh_tile(uint32_t first, uint32_t tile, Room &room) {
    uint32_t row = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (row >= ROWS) return;
    uint32_t start = room.start[row], end = room.end[row];
    float before = room.most[row], most = before, sum = 0.0f;
#pragma unroll 1
    for (uint32_t j = lane; j < tile; j += WARP) {
        if (first + j >= start && first + j < end) most = fmaxf(most, room.scores[row][j]);
    }
    most = warp_max(most);
#pragma unroll 1
    for (uint32_t j = lane; j < tile; j += WARP) {
        bool seen = first + j >= start && first + j < end;
        float weight = seen ? weight_of(room.scores[row][j], most) : UNSEEN;
        room.weights[j * ROWS + row] = weight;
        if (seen) sum += weight;
    }
    sum = warp_sum(sum);
    // All lanes have read what the first one writes over.
    __syncwarp();
    if (lane == 0) {
        float fade = fade_of(before, most);
        room.most[row] = most, room.fade[row] = fade, room.sum[row] = room.sum[row] * fade + sum;
    }
}

// How the threads of a block share values: so many warps have all columns, and so many teams of them take keys by turns.
struct Teams {
    uint32_t count, team, column;

    __device__ explicit Teams(uint32_t width) {
        uint32_t warps = min((width + 2 * WARP - 1) / (2 * WARP), WARPS), warp = threadIdx.x / WARP;
        count = WARPS / warps, team = warp / warps;
        column = 2 * (warp % warps * WARP + threadIdx.x % WARP);
    }
};

// Adds the values of a tile by their weights, after what was summed before has faded.
template <class T, int ROWS>
__device__ void sum_tile(const Arguments &a, const Teams &teams, const uint8_t *values, uint32_t row_bytes, bool even,
                         uint32_t tile, const Room &room, float2 (&sums)[PASSES][ROWS]) {
    if (teams.team >= teams.count) return;
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        float fade = room.fade[row];
        if (fade == 1.0f) continue;
#pragma unroll
        for (int pass = 0; pass < PASSES; pass++) sums[pass][row].x *= fade, sums[pass][row].y *= fade;
    }
#pragma unroll
    for (int pass = 0; pass < PASSES; pass++) {
        uint32_t column = teams.column + pass * 2 * WARP * WARPS;
        if (column >= a.value_width) continue;
        bool both = column + 1 < a.value_width;
#pragma unroll 2
        for (uint32_t j = teams.team; j < tile; j += teams.count) {
            float2 v = T::pair(values + j * row_bytes, column, both, even);
#pragma unroll
            for (int row = 0; row < ROWS; row++) {
                float weight = room.weights[j * ROWS + row];
                if (weight == UNSEEN) continue;
                sums[pass][row].x = fmaf(weight, v.x, sums[pass][row].x);
                sums[pass][row].y = fmaf(weight, v.y, sums[pass][row].y);
            }
        }
    }
}

// A block's rows over a range of positions that holds all they see, or one part of it.
template <class T, int ROWS>
__device__ void attend(const Arguments &a) {
    extern __shared__ __align__(16) uint8_t shared[];
    __shared__ Room room;
    uint32_t warp = threadIdx.x / WARP;
    uint32_t own = a.heads / a.groups, all = a.count * own, chunks = (all + ROWS - 1) / ROWS;
    // First parts are seen even if little is, and late rows see more; so they begin first.
    uint32_t part = blockIdx.x / (a.groups * chunks), place = blockIdx.x % (a.groups * chunks);
    uint32_t group = place / chunks, first_row = (chunks - 1 - place % chunks) * ROWS;
    Sight sight(a.positions, a.count, a.capacity, a.after, a.length, room.largest);

    // In parts, the range is that of all rows of the launch, so that the join finds it again.
    uint32_t from = a.parts ? 0 : first_row / own;
    uint32_t to = a.parts ? a.count : (min(first_row + ROWS, all) - 1) / own + 1;
    Seen range = sight.range(from, to);
    if (a.parts) range = part_of(range, part, a.parts);
    if (a.parts && range.start >= range.end) return;
    uint32_t span = (uint32_t)(range.end - range.start);

    uint32_t stride = a.width + a.width % 2;
    float *queries = (float *)shared;
    uint32_t key_bytes = a.width / T::ELEMENTS * T::BYTES, value_bytes = a.value_width / T::ELEMENTS * T::BYTES;
    const uint8_t *keys = a.keys + (size_t)group * a.capacity * key_bytes;
    const uint8_t *values = a.values + (size_t)group * a.capacity * value_bytes;
    bool even_keys = ((uintptr_t)keys | key_bytes) % 4 == 0, even_values = ((uintptr_t)values | value_bytes) % 4 == 0;
    uint8_t *key_tile = shared + (ROWS * stride * sizeof(float) + PIECE - 1) / PIECE * PIECE;
    uint8_t *value_tile = key_tile + (a.tile * key_bytes + 2 * PIECE - 1) / PIECE * PIECE;

    // A tile ends where the ring does.
    uint32_t slot = (uint32_t)(range.start % max(a.capacity, 1u)), tile = min(min(a.tile, span), a.capacity - slot);
    auto fetch = [&](uint8_t *to, const uint8_t *from, uint32_t bytes) {
        copy_bytes(to, from, bytes);
        end_group();
    };

    fetch(key_tile, keys + (size_t)slot * key_bytes, tile * key_bytes);
    fetch(value_tile, values + (size_t)slot * value_bytes, tile * value_bytes);

    // Queries come while the first tiles are under way.
    if (threadIdx.x < ROWS) {
        uint32_t row = first_row + threadIdx.x;
        Seen seen = row < all ? sight.seen(row / own) : Seen{0, 0};
        auto clamped = [&](uint64_t at) { return (uint32_t)(min(max(at, range.start), range.end) - range.start); };
        room.start[threadIdx.x] = clamped(seen.start), room.end[threadIdx.x] = clamped(seen.end);
        room.seen[threadIdx.x] = seen.start < seen.end;
        room.most[threadIdx.x] = -INFINITY, room.sum[threadIdx.x] = 0.0f;
    }
#pragma unroll 1
    for (uint32_t r = warp; r < ROWS; r += WARPS) {
        uint32_t row = first_row + r, i = row / own, head = group * own + row % own;
        const float *q = a.q + ((size_t)i * a.heads + head) * a.width;
        load_query(q, queries + r * stride, a.width, stride, row < all, T::BYTES == Q8_0::BYTES);
    }
    Teams teams(a.value_width);
    float2 sums[PASSES][ROWS] = {};
    await<1>();
    __syncthreads();
#pragma unroll 1
    for (uint32_t at = 0; at < span;) {
        uint32_t next = at + tile, next_slot = slot + tile < a.capacity ? slot + tile : 0;
        uint32_t next_tile = min(min(a.tile, span - next), a.capacity - next_slot);
        const uint8_t *key = keys + (size_t)slot * key_bytes, *value = values + (size_t)slot * value_bytes;
        const uint8_t *next_key = keys + (size_t)next_slot * key_bytes;
        const uint8_t *next_value = values + (size_t)next_slot * value_bytes;
        score_tile<T, ROWS>(a, queries, stride, key_tile + (uintptr_t)key % PIECE, key_bytes, even_keys, tile, room);
        __syncthreads();
        fetch(key_tile, next_key, next_tile * key_bytes);
        weigh_tile<ROWS>(at, tile, room);
        await<1>();
        __syncthreads();
        value = value_tile + (uintptr_t)value % PIECE;
        sum_tile<T, ROWS>(a, teams, value, value_bytes, even_values, tile, room, sums);
        await<0>();
        __syncthreads();
        fetch(value_tile, next_value, next_tile * value_bytes);
        at = next, slot = next_slot, tile = next_tile;
    }
    await<0>();

    // Sums of teams are added in their order, where the tiles were.
    float *joined = (float *)key_tile;
    uint32_t wide = a.value_width + a.value_width % 2;
    if (teams.team < teams.count) {
#pragma unroll
        for (int pass = 0; pass < PASSES; pass++) {
            uint32_t column = teams.column + pass * 2 * WARP * WARPS;
            if (column >= a.value_width) continue;
#pragma unroll
            for (int row = 0; row < ROWS; row++) {
                *(float2 *)(joined + (teams.team * ROWS + row) * wide + column) = sums[pass][row];
            }
        }
    }
    __syncthreads();
#pragma unroll 1
    for (uint32_t r = warp; r < ROWS; r += WARPS) {
        uint32_t row = first_row + r;
        if (row >= all) continue;
        uint32_t head = group * own + row % own;
        size_t index = (size_t)(row / own) * a.heads + head;
        float most = room.most[r], sum = room.sum[r];
        float factor = a.parts ? 1.0f : last_factor(most, sum, a.sinks ? a.sinks + head : nullptr);
        if (!a.parts && !room.seen[r]) factor = not_a_number();
        float *out = a.parts ? a.out + (index * a.parts + part) * (a.value_width + 2) : a.out + index * a.value_width;
#pragma unroll 1
        for (uint32_t c = threadIdx.x % WARP; c < a.value_width; c += WARP) {
            float x = 0.0f;
#pragma unroll 1
            for (uint32_t team = 0; team < teams.count; team++) x += joined[(team * ROWS + r) * wide + c];
            out[c] = x * factor;
        }
        if (a.parts && threadIdx.x % WARP == 0) out[a.value_width] = most, out[a.value_width + 1] = sum;
    }
}

template <class T>
__device__ void attention(Arguments a) {
    take_own<T>(a);
    if (a.rows == 4) return attend<T, 4>(a);
    attend<T, 8>(a);
}

#define ATTENTION(NAME, TYPE)                                                                                        \
    KERNEL __launch_bounds__(WARPS *WARP, 3) NAME(const float *q, const uint8_t *keys, const uint8_t *values, const uint32_t *positions,               \
                const float *sinks, float *out, uint32_t heads, uint32_t groups, float scale, float softcap,         \
                uint32_t after, uint32_t length, uint32_t count, uint32_t width, uint32_t value_width,               \
                uint32_t capacity, uint32_t parts, uint32_t tile, uint32_t rows, const uint32_t *places,             \
                uint32_t caches) {                                                                                   \
        if (parts) let_next_start();                                                                                 \
        wait_for_others();                                                                                           \
        attention<TYPE>({q, keys, values, positions, sinks, out, heads, groups, scale, softcap, after, length,       \
                         count, width, value_width, capacity, parts, tile, rows, places, caches});                   \
    }

ATTENTION(attention_f32, F32)
ATTENTION(attention_f16, F16)
ATTENTION(attention_bf16, BF16)
ATTENTION(attention_q8_0, Q8_0)
ATTENTION(attention_q4_0, Q4_0)

// Joins the records of a head at a position: warps have all columns, and teams of them take parts by turns.
KERNEL __launch_bounds__(JOIN_THREADS) attention_join(const float *records, const uint32_t *positions, const float *sinks, float *out, uint32_t own,
                      uint32_t groups, uint32_t width, uint32_t capacity, uint32_t after, uint32_t length,
                      uint32_t count, uint32_t parts, const uint32_t *places, uint32_t caches) {
    wait_for_others();
    extern __shared__ __align__(16) float sums[];
    __shared__ float factors[MOST_PARTS];
    __shared__ uint32_t largest[WARP];
    __shared__ float last;
    uint32_t heads = groups * (own / width), head = blockIdx.x % heads, i = blockIdx.x / heads;
    if (places) {
        uint32_t row = blockIdx.y;
        if (places[row] >= caches) capacity = 0;
        positions += row, count = 1;
        records += (size_t)row * heads * parts * (width + 2), out += (size_t)row * heads * width;
    }
    Sight sight(positions, count, capacity, after, length, largest);
    Seen range = sight.range(0, count);
    Seen seen = sight.seen(i);
    out += (size_t)blockIdx.x * width;
    if (seen.start >= seen.end) {
#pragma unroll 1
        for (uint32_t c = threadIdx.x; c < width; c += blockDim.x) out[c] = not_a_number();
        return;
    }
    uint32_t each = part_length(range, parts), used = ((uint32_t)(range.end - range.start) + each - 1) / each;
    records += (size_t)blockIdx.x * parts * (width + 2);
    auto record = [&](uint32_t part) { return records + (size_t)part * (width + 2); };

    // What a thread adds first is under way while factors are found.
    uint32_t lanes = (width + WARP - 1) / WARP * WARP, teams = max(blockDim.x / lanes, 1u);
    uint32_t team = threadIdx.x / lanes, column = threadIdx.x % lanes;
    float held[HELD];
#pragma unroll
    for (int i = 0; i < HELD; i++) {
        uint32_t p = team + i * teams;
        held[i] = team < teams && p < used && column < width ? record(p)[column] : 0.0f;
    }
    if (threadIdx.x < WARP) {
        float most = -INFINITY, sum = 0.0f, own_most[MOST_PARTS / WARP], own_sum[MOST_PARTS / WARP];
#pragma unroll
        for (int i = 0; i < MOST_PARTS / WARP; i++) {
            uint32_t p = threadIdx.x + i * WARP;
            own_most[i] = p < used ? record(p)[width] : -INFINITY, own_sum[i] = p < used ? record(p)[width + 1] : 0.0f;
            most = fmaxf(most, own_most[i]);
        }
        most = warp_max(most);
#pragma unroll
        for (int i = 0; i < MOST_PARTS / WARP; i++) {
            // A part in which nothing is seen has a sum of zero, and is none.
            float factor = own_sum[i] == 0.0f ? 0.0f : expf(own_most[i] - most);
            factors[threadIdx.x + i * WARP] = factor, sum += own_sum[i] * factor;
        }
        sum = warp_sum(sum);
        if (threadIdx.x == 0) last = last_factor(most, sum, sinks ? sinks + head : nullptr);
    }
    __syncthreads();
    auto add = [&](float sum, uint32_t from, uint32_t c) {
#pragma unroll 4
        for (uint32_t p = team + from * teams; p < used; p += teams) sum = fmaf(factors[p], record(p)[c], sum);
        return sum;
    };
    if (team < teams && column < width) {
        float sum = 0.0f;
#pragma unroll
        for (int i = 0; i < HELD; i++) {
            uint32_t p = team + i * teams;
            if (p < used) sum = fmaf(factors[p], held[i], sum);
        }
        sums[team * width + column] = add(sum, HELD, column);
    }
    // A row that is wider than the block has one team.
    for (uint32_t c = column + blockDim.x; c < width; c += blockDim.x) sums[c] = add(0.0f, 0, c);
    __syncthreads();
#pragma unroll 1
    for (uint32_t c = threadIdx.x; c < width; c += blockDim.x) {
        float sum = 0.0f;
#pragma unroll 1
        for (uint32_t other = 0; other < teams; other++) sum += sums[other * width + c];
        out[c] = sum * last;
    }
}
