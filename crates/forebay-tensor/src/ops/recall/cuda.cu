// `recall_*(q, k, v, q_norm, k_norm, angles, positions, places, sinks, keys, values, out, records, arrivals, heads, groups, capacity, length,
// caches, how, q_epsilon, k_epsilon, scale, softcap)`: a position's heads are normed and turned, its key and value go into the cache, and
// its queries attend to what is there: `enter` and `attention` in one launch, for one position of each cache.
//
// A cluster of blocks owns up to eight heads that share a head of keys and values. Keys that were there before go in chunks of 16 by turns to
// the blocks, and in a block by turns to its warps, straight from the cache into registers: a warp multiplies a chunk with all its heads at
// once, on tensor cores, keys being rows of one matrix and heads columns of the other. Which element stands where between the two matters
// to nobody as long as both have it at the same place, so a lane reads 16 bytes of a key side by side. The position's own key and value
// are never read from the cache; the first block has them. What warps have is joined within a block, and what blocks have within the cluster.
// A long past is shared by several clusters, as one multiprocessor cannot ask for enough at a time: each leaves a record, and which comes
// last, as `arrivals` counts, joins them; then the count is zero again.

#include "../../tiles/cuda/cache.cuh"
#include "../../tiles/cuda/cluster.cuh"
#include "../../tiles/cuda/matrix.cuh"

#define WARPS 8
// The most heads of a cluster; `mod.rs` has these.
#define HEADS 8
// Keys of a chunk.
#define CHUNK 16
#define LOG2_E 1.44269504f
// Positions of a past that are worth one more cluster, and the most clusters; `mod.rs` has the latter.
#define LONG 512
#define MOST_SPLITS 16
// A past of warps, and the position itself.
#define SLOTS (WARPS + 1)

#define ARGUMENTS                                                                                                      \
    const float *q, const float *k, const float *v, const float *q_norm, const float *k_norm, const float *angles,     \
        const uint32_t *positions, const uint32_t *places, const float *sinks, uint16_t *keys, uint16_t *values,       \
        float *out, float *records, uint32_t *arrivals, uint32_t heads, uint32_t groups, uint32_t capacity,            \
        uint32_t length, uint32_t caches, uint32_t how, float q_epsilon, float k_epsilon, float scale, float softcap
#define GIVEN                                                                                                          \
    q, k, v, q_norm, k_norm, angles, positions, places, sinks, keys, values, out, records, arrivals, heads, groups,    \
        capacity, length, caches, how, q_epsilon, k_epsilon, scale, softcap
// Bits of `how`; then there are five for the number of clusters that share a past, and the pairs of a head.
#define HALF_SPLIT 1
#define RING 2
#define EARLY 4
#define SPLITS_AT 4
#define PAIRS_AT 9

#if __CUDA_ARCH__ >= 900

// What the threads of a block share. The largest score and the sum of weights of each head belong to the sums of values of a slot.
template <uint32_t WIDTH> struct Room {
    float sums[SLOTS][HEADS][WIDTH];
    float joined[HEADS][WIDTH];
    float most[SLOTS][HEADS], sum[SLOTS][HEADS];
    float joined_most[HEADS], joined_sum[HEADS];
    // Queries, the new key and the new value; a warp makes each.
    float rows[HEADS + 2][WIDTH];
    __align__(16) __half queries[HEADS][WIDTH];
    bool is_last;
};

// The sum of values of several parts, with the largest score of all and the sum of weights. A part in which nothing is seen has a sum of zero.
template <uint32_t MOST>
__device__ __forceinline__ float4 join(uint32_t count, const float (&parts_most)[MOST], const float (&parts_sum)[MOST],
                                       const float4 (&parts)[MOST], float &most, float &sum) {
    float4 x = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    most = -INFINITY, sum = 0.0f;
#pragma unroll
    for (uint32_t b = 0; b < MOST; b++) {
        if (b < count && parts_sum[b] != 0.0f) most = fmaxf(most, parts_most[b]);
    }
#pragma unroll
    for (uint32_t b = 0; b < MOST; b++) {
        if (b >= count || parts_sum[b] == 0.0f) continue;
        const float fade = parts_most[b] == -INFINITY ? 0.0f : power_of_two(parts_most[b] - most);
        sum = fmaf(parts_sum[b], fade, sum);
        const float4 y = parts[b];
        x = make_float4(fmaf(y.x, fade, x.x), fmaf(y.y, fade, x.y), fmaf(y.z, fade, x.z), fmaf(y.w, fade, x.w));
    }
    return x;
}

// Norms and turns a row of which a warp has every 32nd element from its lane on; `row` is the warp's own room.
template <uint32_t WIDTH>
__device__ __forceinline__ void prepare(float *row, const float (&x)[WIDTH / WARP], const float *norm, float epsilon, const float *angles,
                                        uint32_t pairs, bool half_split) {
    const uint32_t lane = threadIdx.x % WARP;
    float scale = 1.0f;
    if (norm) {
        float squares = 0.0f;
#pragma unroll
        for (uint32_t i = 0; i < WIDTH / WARP; i++) squares += x[i] * x[i];
        scale = 1.0f / sqrtf(warp_sum(squares) / WIDTH + epsilon);
    }
#pragma unroll
    for (uint32_t i = 0; i < WIDTH / WARP; i++) {
        row[lane + i * WARP] = norm ? x[i] * scale * norm[lane + i * WARP] : x[i];
    }
    __syncwarp();
    for (uint32_t pair = lane; pair < pairs; pair += WARP) {
        uint32_t at = half_split ? pair : 2 * pair, other = half_split ? pair + pairs : at + 1;
        float cosine = angles[pair], sine = angles[pairs + pair], a = row[at], b = row[other];
        row[at] = a * cosine - b * sine, row[other] = a * sine + b * cosine;
    }
    __syncwarp();
}

// The transpose of an 8 x 8 matrix of halves that a warp holds.
__device__ __forceinline__ uint32_t turned(uint32_t x) {
    uint32_t y;
    asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(y) : "r"(x));
    return y;
}

__device__ __forceinline__ uint4 load_past(const uint16_t *at) {
    uint4 x;
    asm volatile("ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "l"(at));
    return x;
}

__device__ __forceinline__ uint32_t word_of(const uint4 &x, int i) { return i == 0 ? x.x : i == 1 ? x.y : i == 2 ? x.z : x.w; }

template <uint32_t WIDTH, uint32_t BLOCKS> __device__ __forceinline__ void recall(ARGUMENTS) {
    constexpr uint32_t QUARTERS = WIDTH / 32, HALVES = WIDTH / 64;
    extern __shared__ __align__(16) uint8_t shared[];
    Room<WIDTH> &room = *(Room<WIDTH> *)shared;
    const uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    const uint32_t rank = cluster_rank();
    const uint32_t pairs = how >> PAIRS_AT, splits = how >> SPLITS_AT & 31;
    const uint32_t each = heads / groups, teams = (each + HEADS - 1) / HEADS;
    const uint32_t split = blockIdx.x / BLOCKS % splits, team = blockIdx.x / BLOCKS / splits;
    const uint32_t group = team / teams, first_head = group * each + team % teams * HEADS;
    const uint32_t own = min(each - team % teams * HEADS, HEADS), i = blockIdx.y;
    if (q_norm && threadIdx.x < WIDTH / WARP) asm volatile("prefetch.global.L2 [%0];" ::"l"(q_norm + WARP * threadIdx.x));
    if (k_norm && threadIdx.x < WIDTH / WARP) asm volatile("prefetch.global.L2 [%0];" ::"l"(k_norm + WARP * threadIdx.x));
    wait_for_others();

    const uint32_t position = positions[i], place = places ? places[i] : 0;
    // What is asked for while the past is on its way.
    const bool is_first = rank == 0 && split == 0;
    float held[2][WIDTH / WARP];
    auto row_of = [&](uint32_t task) {
        return task < own    ? q + ((size_t)i * heads + first_head + task) * WIDTH
               : task == own ? k + ((size_t)i * groups + group) * WIDTH
                             : v + ((size_t)i * groups + group) * WIDTH;
    };
    const uint32_t tasks = is_first ? own + 2 : own;
#pragma unroll
    for (uint32_t j = 0; j < 2; j++) {
        if (warp + j * WARPS >= tasks) continue;
        const float *x = row_of(warp + j * WARPS);
#pragma unroll
        for (uint32_t e = 0; e < WIDTH / WARP; e++) held[j][e] = x[lane + e * WARP];
    }

    const bool fits = place < caches && capacity > 0 && (how & RING || position < capacity);
    const uint32_t start = length && position + 1 > length ? position + 1 - length : 0;
    const bool sees = fits && position < start + capacity;
    const uint32_t past = sees ? position - start : 0, first_slot = sees ? start % capacity : 0;
    const uint32_t used = min(splits, max(past / LONG, 1));
    if (split >= used) return;
    const size_t first = ((size_t)(fits ? place : 0) * groups + group) * capacity;
    keys += first * WIDTH, values += first * WIDTH;
    // Where a key of the past is; behind the last one, the last one.
    auto slot_of = [&](uint32_t key) {
        uint32_t slot = first_slot + min(key, past - 1);
        return (size_t)(slot < capacity ? slot : slot - capacity) * WIDTH;
    };
    uint4 key_words[2][QUARTERS], value_words[4][HALVES];
    auto load_keys = [&](uint32_t first) {
#pragma unroll
        for (uint32_t j = 0; j < 2; j++) {
            const uint16_t *row = keys + slot_of(first + g + 8 * j) + 8 * t;
#pragma unroll
            for (uint32_t e = 0; e < QUARTERS; e++) key_words[j][e] = load_past(row + 32 * e);
        }
    };
    auto load_values = [&](uint32_t first) {
#pragma unroll
        for (uint32_t j = 0; j < 4; j++) {
            const uint16_t *row = values + slot_of(first + 2 * t + j % 2 + j / 2 * 8) + 8 * g;
#pragma unroll
            for (uint32_t e = 0; e < HALVES; e++) value_words[j][e] = load_past(row + 64 * e);
        }
    };
    const uint32_t step = CHUNK * WARPS * BLOCKS * used;
    uint32_t chunk = CHUNK * ((warp * BLOCKS + rank) * used + split);
    const bool has_past = chunk < past;
    if (has_past) load_keys(chunk), load_values(chunk);

#pragma unroll
    for (uint32_t j = 0; j < 2; j++) {
        const uint32_t task = warp + j * WARPS;
        if (task >= tasks) continue;
        const bool is_query = task < own, is_value = task > own;
        prepare<WIDTH>(room.rows[task], held[j], is_query ? q_norm : is_value ? nullptr : k_norm, is_query ? q_epsilon : k_epsilon,
                       angles + (size_t)i * 2 * pairs, is_value ? 0 : pairs, how & HALF_SPLIT);
        uint16_t *cache = is_value ? values : keys;
        const size_t slot = fits ? (size_t)(position % capacity) * WIDTH : 0;
#pragma unroll
        for (uint32_t e = lane; e < WIDTH; e += WARP) {
            float x = room.rows[task][e];
            if (is_query) {
                room.queries[task][e] = __float2half_rn(x * scale);
            } else {
                __half rounded = __float2half_rn(x);
                if (fits) cache[slot + e] = __half_as_ushort(rounded);
                room.rows[task][e] = __half2float(rounded);
            }
        }
    }
    for (uint32_t task = own + warp; task < HEADS; task += WARPS) {
        for (uint32_t e = lane; e < WIDTH; e += WARP) room.queries[task][e] = __float2half_rn(0.0f);
    }
    __syncthreads();

    auto bend = [&](float score) { return (softcap > 0.0f ? softcap * tanhf(score / softcap) : score) * LOG2_E; };
    // The position itself, a head a warp.
    if (warp < own && lane == 0) room.sum[WARPS][warp] = is_first && sees ? 1.0f : 0.0f;
    if (is_first && warp < own) {
        float score = 0.0f;
#pragma unroll
        for (uint32_t e = lane; e < WIDTH; e += WARP) {
            score = fmaf(__half2float(room.queries[warp][e]), room.rows[own][e], score);
            room.sums[WARPS][warp][e] = room.rows[own + 1][e];
        }
        score = bend(warp_sum(score));
        if (lane == 0) room.most[WARPS][warp] = score, room.sum[WARPS][warp] = isnan(score) ? score : room.sum[WARPS][warp];
    }

    float most[2] = {-INFINITY, -INFINITY}, sum[2] = {};
    float sums[HALVES][4][4] = {};
    if (has_past) {
        uint4 query_words[QUARTERS];
#pragma unroll
        for (uint32_t e = 0; e < QUARTERS; e++) query_words[e] = *(const uint4 *)&room.queries[g][32 * e + 8 * t];
#pragma unroll 1
        for (; chunk < past; chunk += step) {
            float scores[4] = {};
#pragma unroll
            for (uint32_t e = 0; e < QUARTERS; e++) {
                const uint4 &a = key_words[0][e], &b = key_words[1][e], &w = query_words[e];
                Half::multiply(scores, {a.x, b.x, a.y, b.y}, w.x, w.y);
                Half::multiply(scores, {a.z, b.z, a.w, b.w}, w.z, w.w);
            }
            if (chunk + step < past) load_keys(chunk + step);
            float weights[4];
#pragma unroll
            for (int s = 0; s < 4; s++) scores[s] = chunk + g + s / 2 * 8 < past ? bend(scores[s]) : -INFINITY;
#pragma unroll
            for (int h = 0; h < 2; h++) {
                float now = fmaxf(most[h], fmaxf(scores[h], scores[2 + h]));
#pragma unroll
                for (int distance = 4; distance < WARP; distance *= 2) now = fmaxf(now, __shfl_xor_sync(~0u, now, distance));
                const float fade = now == most[h] ? 1.0f : power_of_two(most[h] - now);
                most[h] = now;
                if (fade != 1.0f) {
#pragma unroll
                    for (uint32_t e = 0; e < HALVES; e++) {
#pragma unroll
                        for (int r = 0; r < 4; r++) sums[e][r][h] *= fade, sums[e][r][2 + h] *= fade;
                    }
                    sum[h] *= fade;
                }
#pragma unroll
                for (int s = h; s < 4; s += 2) {
                    weights[s] = scores[s] == -INFINITY ? 0.0f : power_of_two(scores[s] - now);
                    sum[h] += weights[s];
                }
            }
            const uint32_t low = turned(Half::pack(weights[0], weights[1])), high = turned(Half::pack(weights[2], weights[3]));
#pragma unroll
            for (uint32_t e = 0; e < HALVES; e++) {
#pragma unroll
                for (int r = 0; r < 4; r++) {
                    const uint32_t w[4] = {word_of(value_words[0][e], r), word_of(value_words[1][e], r), word_of(value_words[2][e], r),
                                           word_of(value_words[3][e], r)};
                    Half::multiply(sums[e][r],
                                   {__byte_perm(w[0], w[1], 0x5410), __byte_perm(w[0], w[1], 0x7632), __byte_perm(w[2], w[3], 0x5410),
                                    __byte_perm(w[2], w[3], 0x7632)},
                                   low, high);
                }
            }
            if (chunk + step < past) load_values(chunk + step);
        }
#pragma unroll
        for (int h = 0; h < 2; h++) {
#pragma unroll
            for (int distance = 4; distance < WARP; distance *= 2) sum[h] += __shfl_xor_sync(~0u, sum[h], distance);
            const uint32_t head = 2 * t + h;
            if (head >= own) continue;
#pragma unroll
            for (uint32_t e = 0; e < HALVES; e++) {
                float4 *to = (float4 *)&room.sums[warp][head][64 * e + 8 * g];
                to[0] = make_float4(sums[e][0][h], sums[e][0][2 + h], sums[e][1][h], sums[e][1][2 + h]);
                to[1] = make_float4(sums[e][2][h], sums[e][2][2 + h], sums[e][3][h], sums[e][3][2 + h]);
            }
        }
    }
    if (g == 0) {
#pragma unroll
        for (int h = 0; h < 2; h++) room.most[warp][2 * t + h] = most[h], room.sum[warp][2 * t + h] = sum[h];
    }
    __syncthreads();

    // What comes next finds room on all multiprocessors only now.
    if (how & EARLY) let_next_start();
    // Of the warps of a block, a thread four columns of a head.
    for (uint32_t at = 4 * threadIdx.x; at < own * WIDTH; at += 4 * WARPS * WARP) {
        const uint32_t head = at / WIDTH, column = at % WIDTH;
        float all = -INFINITY, total = 0.0f;
        float4 x = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll
        for (uint32_t s = 0; s < SLOTS; s++) {
            if (room.sum[s][head] != 0.0f) all = fmaxf(all, room.most[s][head]);
        }
#pragma unroll
        for (uint32_t s = 0; s < SLOTS; s++) {
            const float part = room.sum[s][head];
            if (part == 0.0f) continue;
            const float fade = room.most[s][head] == -INFINITY ? 0.0f : power_of_two(room.most[s][head] - all);
            const float4 y = *(const float4 *)&room.sums[s][head][column];
            total = fmaf(part, fade, total);
            x = make_float4(fmaf(y.x, fade, x.x), fmaf(y.y, fade, x.y), fmaf(y.z, fade, x.z), fmaf(y.w, fade, x.w));
        }
        *(float4 *)&room.joined[head][column] = x;
        if (column == 0) room.joined_most[head] = all, room.joined_sum[head] = total;
    }
    cluster_meet();

    // Of the blocks of a cluster; a block has a share of the columns, a thread four of them.
    const uint32_t share = own * WIDTH / 4 / BLOCKS;
    auto give = [&](uint32_t head, uint32_t column, float most, float sum, float4 x) {
        float sink = 0.0f, fade = 1.0f;
        if (sinks) {
            const float score = sinks[first_head + head] * LOG2_E, all = fmaxf(most, score);
            fade = most == -INFINITY ? 0.0f : power_of_two(most - all), sink = power_of_two(score - all);
        }
        const float factor = sees ? fade / (sum * fade + sink) : not_a_number();
        *(float4 *)(out + ((size_t)i * heads + first_head + head) * WIDTH + column) =
            make_float4(x.x * factor, x.y * factor, x.z * factor, x.w * factor);
    };
    // A record of six numbers for each four columns.
    const size_t whole = (size_t)gridDim.x / (splits * BLOCKS) * HEADS * WIDTH / 4;
    auto record_of = [&](uint32_t split, uint32_t at) {
        return records + (((size_t)i * splits + split) * whole + (size_t)team * HEADS * WIDTH / 4 + at / 4) * 6;
    };
    for (uint32_t n = threadIdx.x; n < share; n += WARPS * WARP) {
        const uint32_t at = 4 * (rank * share + n), head = at / WIDTH, column = at % WIDTH;
        float parts_most[BLOCKS], parts_sum[BLOCKS];
        float4 parts[BLOCKS];
#pragma unroll
        for (uint32_t b = 0; b < BLOCKS; b++) {
            parts_most[b] = read_of_block(&room.joined_most[head], b);
            parts_sum[b] = read_of_block(&room.joined_sum[head], b);
            parts[b] = read_of_block((const float4 *)&room.joined[head][column], b);
        }
        float most, sum;
        const float4 x = join<BLOCKS>(BLOCKS, parts_most, parts_sum, parts, most, sum);
        if (used == 1) {
            give(head, column, most, sum, x);
        } else {
            float *to = record_of(split, at);
            *(float2 *)to = make_float2(most, sum), *(float2 *)(to + 2) = make_float2(x.x, x.y), *(float2 *)(to + 4) = make_float2(x.z, x.w);
        }
    }
    if (used > 1) {
        // Of the clusters, a block with those of its rank.
        __threadfence();
        __syncthreads();
        if (threadIdx.x == 0) {
            uint32_t *count = arrivals + ((size_t)i * gridDim.x / (splits * BLOCKS) + team) * MOST_BLOCKS + rank;
            room.is_last = atomicInc(count, used - 1) == used - 1;
            __threadfence();
        }
        __syncthreads();
        for (uint32_t n = threadIdx.x; room.is_last && n < share; n += WARPS * WARP) {
            const uint32_t at = 4 * (rank * share + n);
            float parts_most[MOST_SPLITS], parts_sum[MOST_SPLITS];
            float4 parts[MOST_SPLITS];
#pragma unroll
            for (uint32_t b = 0; b < MOST_SPLITS; b++) {
                if (b >= used) continue;
                const float2 *from = (const float2 *)record_of(b, at);
                const float2 both = __ldcg(from), low = __ldcg(from + 1), high = __ldcg(from + 2);
                parts_most[b] = both.x, parts_sum[b] = both.y, parts[b] = make_float4(low.x, low.y, high.x, high.y);
            }
            float most, sum;
            const float4 x = join<MOST_SPLITS>(used, parts_most, parts_sum, parts, most, sum);
            give(at / WIDTH, at % WIDTH, most, sum, x);
        }
    }
    // Nobody leaves while others read what it has.
    cluster_meet();
}

#define CLUSTER(BLOCKS) __cluster_dims__(BLOCKS, 1, 1)
#define BODY(WIDTH, BLOCKS) recall<WIDTH, BLOCKS>(GIVEN);
#else
#define CLUSTER(BLOCKS)
#define BODY(WIDTH, BLOCKS)
#endif

#define RECALL(WIDTH, BLOCKS)                                                                                          \
    KERNEL CLUSTER(BLOCKS) __launch_bounds__(WARPS *WARP, 1) recall_##WIDTH##_##BLOCKS(ARGUMENTS) { BODY(WIDTH, BLOCKS) }

#define OF_WIDTH(WIDTH) RECALL(WIDTH, 2) RECALL(WIDTH, 8)

OF_WIDTH(64)
OF_WIDTH(128)
OF_WIDTH(256)
