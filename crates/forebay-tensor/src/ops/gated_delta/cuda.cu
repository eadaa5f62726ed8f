// `gated_delta(q, k, v, decay, beta, state, out, count, key_heads, heads, interleaved, scale, key_width, width)`: a block
// owns some columns of the state of one head of values, and a few lanes share each column.
//
// Columns need nothing of each other, so a block goes from position to position by itself. With `S` the state before a
// position and `e` what is kept of it, the change is `beta * (v - e S(k))` and the answer `e S(q) + (k . q) change`: both
// products are of the state as it was, and their sums are made at the same time.

#include "../../tiles/cuda/begin.cuh"

// Threads of a block; `mod.rs` has the same number, and the same columns.
#define THREADS 256
#define COLUMNS 32
// Lanes that share a column.
#define LANES (THREADS / COLUMNS)
// The widest key for which the state stays in registers.
#define KEYS 128
// What a lane has of a column: so many times four neighbours.
#define QUADS (KEYS / LANES / 4)
// Positions whose keys and values are in shared memory at a time.
#define STEPS 16

static_assert(THREADS == 2 * KEYS, "a thread fetches one place of the queries or the keys of each position");
static_assert(STEPS * COLUMNS == 2 * THREADS, "a thread fetches two values");
static_assert(2 * STEPS <= WARP, "a warp fetches all decays and betas");

// What belongs to a head of values; positions lie so many elements apart.
struct Head {
    const float *q, *k, *v, *decay, *beta;
    float *state, *out;
    size_t key_apart, value_apart, heads;
    uint32_t count, key_width, width;
    float scale;
};

// The sum over the lanes of a column, in all of them.
__device__ __forceinline__ float column_sum(float x) {
#pragma unroll
    for (int distance = LANES / 2; distance > 0; distance /= 2) x += __shfl_xor_sync(~0u, x, distance);
    return x;
}

// Positions as they lie in shared memory.
struct Tile {
    float4 q[STEPS][KEYS / 4], k[STEPS][KEYS / 4];
    float v[STEPS][COLUMNS];
    // What is kept, how far it is corrected, and the product of key and query.
    float keep[STEPS], beta[STEPS], agree[STEPS];
};

// What a thread brings of the next positions. What is not there is zero.
struct Fetched {
    float keys[STEPS], values[2], number;

    __device__ __forceinline__ void fetch(const Head &head, uint32_t first, uint32_t first_column) {
        uint32_t place = threadIdx.x % KEYS, column = first_column + threadIdx.x % COLUMNS;
        const float *from = (threadIdx.x < KEYS ? head.q : head.k) + place;
#pragma unroll
        for (uint32_t i = 0; i < STEPS; i++) {
            bool there = first + i < head.count && place < head.key_width;
            keys[i] = there ? from[(first + i) * head.key_apart] : 0.0f;
        }
#pragma unroll
        for (uint32_t i = 0; i < 2; i++) {
            size_t at = first + threadIdx.x / COLUMNS + i * (THREADS / COLUMNS);
            values[i] = at < head.count && column < head.width ? head.v[at * head.value_apart + column] : 0.0f;
        }
        size_t at = first + threadIdx.x % STEPS;
        bool there = threadIdx.x < 2 * STEPS && at < head.count;
        number = there ? (threadIdx.x < STEPS ? head.decay : head.beta)[at * head.heads] : 0.0f;
    }

    __device__ __forceinline__ void put(Tile *tile) const {
        uint32_t place = threadIdx.x % KEYS;
        float *to = (float *)(threadIdx.x < KEYS ? tile->q : tile->k) + place;
#pragma unroll
        for (uint32_t i = 0; i < STEPS; i++) to[i * KEYS] = keys[i];
#pragma unroll
        for (uint32_t i = 0; i < 2; i++) {
            tile->v[threadIdx.x / COLUMNS + i * (THREADS / COLUMNS)][threadIdx.x % COLUMNS] = values[i];
        }
        if (threadIdx.x < STEPS) tile->keep[threadIdx.x] = expf(number);
        else if (threadIdx.x < 2 * STEPS) tile->beta[threadIdx.x - STEPS] = number;
    }
};

// The products of key and query of the first positions of a tile: a warp does every so many of them.
__device__ void agree(Tile *tile, uint32_t steps) {
    for (uint32_t i = threadIdx.x / WARP; i < steps; i += THREADS / WARP) {
        const float *q = (const float *)tile->q[i], *k = (const float *)tile->k[i];
        float sum = 0.0f;
#pragma unroll
        for (uint32_t place = 0; place < KEYS; place += WARP) {
            sum += q[place + threadIdx.x % WARP] * k[place + threadIdx.x % WARP];
        }
        sum = warp_sum(sum);
        if (threadIdx.x % WARP == 0) tile->agree[i] = sum;
    }
}

// One position of a column, of whose state a lane has its part. Gives back the answer.
__device__ __forceinline__ float step(float4 (&own)[QUADS], const Tile &tile, uint32_t i, float scale) {
    uint32_t lane = threadIdx.x % LANES;
    float4 k[QUADS];
    float said = 0.0f, asked = 0.0f;
#pragma unroll
    for (uint32_t quad = 0; quad < QUADS; quad++) {
        float4 x = own[quad], q = tile.q[i][quad * LANES + lane];
        k[quad] = tile.k[i][quad * LANES + lane];
        said += k[quad].x * x.x + k[quad].y * x.y + k[quad].z * x.z + k[quad].w * x.w;
        asked += q.x * x.x + q.y * x.y + q.z * x.z + q.w * x.w;
    }
    said = column_sum(said);
    asked = column_sum(asked);
    float keep = tile.keep[i];
    float change = tile.beta[i] * (tile.v[i][threadIdx.x / LANES] - keep * said);
#pragma unroll
    for (uint32_t quad = 0; quad < QUADS; quad++) {
        own[quad].x = keep * own[quad].x + k[quad].x * change;
        own[quad].y = keep * own[quad].y + k[quad].y * change;
        own[quad].z = keep * own[quad].z + k[quad].z * change;
        own[quad].w = keep * own[quad].w + k[quad].w * change;
    }
    return scale * (keep * asked + tile.agree[i] * change);
}

// Keys of up to KEYS: the state is in registers from the first position to the last. Rows past the width of keys are zero.
__device__ void narrow(const Head &head, uint32_t first_column) {
    __shared__ Tile tile;
    uint32_t column = first_column + threadIdx.x / LANES, lane = threadIdx.x % LANES;
    bool here = column < head.width;
    float4 own[QUADS];
#pragma unroll
    for (uint32_t quad = 0; quad < QUADS; quad++) {
        float *elements = &own[quad].x;
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t row = (quad * LANES + lane) * 4 + i;
            bool there = here && row < head.key_width;
            elements[i] = there ? head.state[(size_t)row * head.width + column] : 0.0f;
        }
    }
    Fetched fetched;
    fetched.fetch(head, 0, first_column);
    for (uint32_t first = 0; first < head.count; first += STEPS) {
        uint32_t steps = min(STEPS, head.count - first);
        __syncthreads();
        fetched.put(&tile);
        __syncthreads();
        if (steps < head.count - first) fetched.fetch(head, first + STEPS, first_column);
        agree(&tile, steps);
        __syncthreads();
        for (uint32_t i = 0; i < steps; i++) {
            float answer = step(own, tile, i, head.scale);
            if (here && lane == 0) head.out[(size_t)(first + i) * head.value_apart + column] = answer;
        }
    }
#pragma unroll
    for (uint32_t quad = 0; quad < QUADS; quad++) {
        const float *elements = &own[quad].x;
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t row = (quad * LANES + lane) * 4 + i;
            if (here && row < head.key_width) head.state[(size_t)row * head.width + column] = elements[i];
        }
    }
}

// Keys of any width: the state is read and written at every position.
__device__ void wide(const Head &head, uint32_t first_column) {
    uint32_t column = first_column + threadIdx.x / LANES, lane = threadIdx.x % LANES;
    bool here = column < head.width;
    // Lanes without a column come along for the sums of the others.
    uint32_t rows = here ? head.key_width : 0;
    float *own = head.state + column;
    for (size_t i = 0; i < head.count; i++) {
        const float *q = head.q + i * head.key_apart, *k = head.k + i * head.key_apart;
        float said = 0.0f, asked = 0.0f, agree = 0.0f;
        for (size_t row = lane; row < rows; row += LANES) {
            float x = own[row * head.width];
            said += k[row] * x;
            asked += q[row] * x;
            agree += q[row] * k[row];
        }
        said = column_sum(said);
        asked = column_sum(asked);
        agree = column_sum(agree);
        if (!here) continue;
        float keep = expf(head.decay[i * head.heads]);
        float change = head.beta[i * head.heads] * (head.v[i * head.value_apart + column] - keep * said);
        for (size_t row = lane; row < rows; row += LANES) {
            own[row * head.width] = keep * own[row * head.width] + k[row] * change;
        }
        if (lane == 0) head.out[i * head.value_apart + column] = head.scale * (keep * asked + agree * change);
    }
}

KERNEL gated_delta(const float *q, const float *k, const float *v, const float *decay, const float *beta, float *state,
                   float *out, uint32_t count, uint32_t key_heads, uint32_t heads, uint32_t interleaved, float scale,
                   uint32_t key_width, uint32_t width) {
    begin();
    uint32_t slices = (width + COLUMNS - 1) / COLUMNS;
    size_t own = blockIdx.x / slices, key_head = interleaved ? own % key_heads : own / (heads / key_heads);
    Head head;
    head.q = q + key_head * key_width;
    head.k = k + key_head * key_width;
    head.v = v + own * width;
    head.decay = decay + own;
    head.beta = beta + own;
    head.state = state + own * key_width * width;
    head.out = out + own * width;
    head.key_apart = (size_t)key_heads * key_width;
    head.value_apart = (size_t)heads * width;
    head.heads = heads;
    head.count = count;
    head.key_width = key_width;
    head.width = width;
    head.scale = scale;
    uint32_t first_column = blockIdx.x % slices * COLUMNS;
    if (key_width <= KEYS) {
        narrow(head, first_column);
    } else {
        wide(head, first_column);
    }
}
