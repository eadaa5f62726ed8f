// `matmul_images_*(weight, x, out, first, part, rows, bricks, count, ending)`: products of two images, on cards of 9.0.
//
// The image of the weight has `part` rows, which are those of the whole weight from `first` on; where products of one weight are
// gates for those of another, `part` of each, whose bricks take turns. A tile is 128 rows of `x` and `WIDE` of the image of weights. Blocks are alone or come in pairs, with the same rows of the weight and rows of `x` side by side: then each brings half of
// the weight's bricks, for both. Blocks take one tile after another, those that share rows of the weight together. In a block one warp brings bricks, and two warpgroups multiply them by 64 rows of `x` each.

#include "../../tiles/cuda/curves.cuh"
#include "../../tiles/cuda/images.cuh"
#include "../../tiles/cuda/warpgroup.cuh"

#define GROUP 128
// Registers of a thread that brings and of one that multiplies; before they are told apart all have as many.
#define BRINGS 40
#define MULTIPLIES 232

#if HAS_WARPGROUPS

// What becomes of products. `bands.rs` has the same numbers.
enum Ending { STORE, ADD, GATE_SILU, GATE_GELU_TANH };

struct Images {
    const uint8_t *weight, *x;
    float *out;
    uint32_t first, part, rows, bricks, count, ending;

    // Weights of which each brick meets the same rows.
    __device__ __forceinline__ uint32_t weights() const { return ending >= GATE_SILU ? 2 : 1; }
    __device__ __forceinline__ uint32_t bricks_of_weights() const { return (part + BRICK_ROWS - 1) / BRICK_ROWS * weights(); }
};

// What a tile needs of shared memory, in stages of 64 columns.
template <int WIDE> struct Room {
    static constexpr int BRICKS = WIDE / BRICK_ROWS;
    static constexpr int STAGE = (1 + BRICKS) * BRICK_BYTES;
    static constexpr int STAGES = 4 * 3 / (1 + BRICKS);
    uint32_t bricks, full, empty;

    // Stages begin at a multiple of 1024; barriers lie behind them.
    __device__ __forceinline__ Room(uint32_t address) {
        bricks = (address + 1023) & ~1023u;
        full = bricks + STAGES * STAGE;
        empty = full + 8 * STAGES;
    }
};

// The tiles of a block of a pair, one after another.
template <int WIDE, int PAIR> struct Tiles {
    uint32_t along_x, pairs, count, tile, rank;

    __device__ __forceinline__ Tiles(const Images &images, uint32_t rank) : rank(rank) {
        along_x = (images.count + BRICK_ROWS - 1) / BRICK_ROWS;
        pairs = (along_x + PAIR - 1) / PAIR;
        count = pairs * ((images.bricks_of_weights() * BRICK_ROWS + WIDE - 1) / WIDE);
        tile = blockIdx.x / PAIR;
    }
    __device__ __forceinline__ bool is_left() const { return tile < count; }
    __device__ __forceinline__ void next() { tile += gridDim.x / PAIR; }
    // Which bricks of `x`, maybe past the last one, and of the weight.
    __device__ __forceinline__ uint32_t of_x() const { return tile % pairs * PAIR + rank; }
    __device__ __forceinline__ uint32_t of_weight() const { return tile / pairs; }
};

template <int WIDE, int PAIR>
__device__ __forceinline__ void bring(const Images &images, Room<WIDE> room, uint32_t rank) {
    typedef Room<WIDE> R;
    static_assert(PAIR == 1 || PAIR == R::BRICKS, "each of a pair brings a brick of the weight");
    Turn<R::STAGES> turn;
    const uint32_t last = images.bricks_of_weights() - 1;
    for (Tiles<WIDE, PAIR> tiles(images, rank); tiles.is_left(); tiles.next()) {
        // In place of bricks that are missing the last one is brought; what comes of it is not written.
        const size_t along = (size_t)images.bricks * BRICK_BYTES;
        const uint8_t *x = images.x + min(tiles.of_x(), tiles.along_x - 1) * along;
        const uint8_t *weight[R::BRICKS];
#pragma unroll
        for (int i = 0; i < R::BRICKS; i++) {
            const uint32_t number = PAIR == 1 ? i : rank;
            weight[i] = images.weight + min(tiles.of_weight() * R::BRICKS + number, last) * along;
        }
        for (uint32_t brick = 0; brick < images.bricks; brick++, turn.next()) {
            const uint32_t full = room.full + 8 * turn.stage, stage = room.bricks + turn.stage * R::STAGE;
            const size_t at = (size_t)brick * BRICK_BYTES;
            barrier_wait(room.empty + 8 * turn.stage, turn.parity ^ 1);
            barrier_expect(full, R::STAGE);
            copy_in(stage, x + at, BRICK_BYTES, full);
            if constexpr (PAIR == 1) {
#pragma unroll
                for (int i = 0; i < R::BRICKS; i++) copy_in(stage + (1 + i) * BRICK_BYTES, weight[i] + at, BRICK_BYTES, full);
            } else {
                copy_to_all(stage + (1 + rank) * BRICK_BYTES, weight[0] + at, BRICK_BYTES, full, (1 << PAIR) - 1);
            }
        }
    }
}

// Writes numbers for 64 rows of `x`, the first of which is `n`, and `WIDE` of the weight's rows from `row` of its image on, or
// adds them to what is there: each thread those at its places, of which `number` knows the number.
template <int WIDE, class F>
__device__ __forceinline__ void put(const Images &images, uint32_t n, uint32_t row, bool add, F number) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x % GROUP / WARP;
    row += lane % 4 * 2;
    n += warp * 16 + lane / 4;
    const bool in_pairs = images.rows % 2 == 0 && images.first % 2 == 0 && (uintptr_t)images.out % 8 == 0;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const uint32_t at = n + 8 * half;
        if (at >= images.count) break;
        float *out = images.out + (size_t)at * images.rows + images.first;
#pragma unroll
        for (int i = 0; i < WIDE / 8; i++) {
            const uint32_t to = row + 8 * i;
            const float a = number(4 * i + 2 * half), b = number(4 * i + 2 * half + 1);
            // Nobody else adds there, so that the order of sums is fixed; and nobody waits for what is there.
            if (in_pairs && to + 1 < images.part) {
                if (add) atomicAdd((float2 *)(out + to), make_float2(a, b));
                else *(float2 *)(out + to) = make_float2(a, b);
            } else if (to < images.part) {
                if (add) atomicAdd(out + to, a);
                else out[to] = a;
                if (to + 1 < images.part) {
                    if (add) atomicAdd(out + to + 1, b);
                    else out[to + 1] = b;
                }
            }
        }
    }
}

// What becomes of the sums of a tile, of rows of `x` from `n` on.
template <int WIDE>
__device__ __forceinline__ void finish(const Images &images, const float (&sums)[WIDE / 2], uint32_t n, uint32_t tile) {
    if (images.ending < GATE_SILU) {
        put<WIDE>(images, n, tile * WIDE, images.ending == ADD, [&](int i) { return sums[i] * UP; });
    } else if constexpr (WIDE == 2 * BRICK_ROWS) {
        // A thread has the gate of a row in the first brick and what it is the gate of in the second.
        auto gated = [&](auto curve) {
            put<BRICK_ROWS>(images, n, tile * BRICK_ROWS, false, [&](int i) {
                return sums[BRICK_ROWS / 2 + i] * UP * curve(sums[i] * UP);
            });
        };
        if (images.ending == GATE_SILU) gated([](float x) { return silu(x); });
        else gated([](float x) { return gelu_tanh(x); });
    }
}

template <int WIDE, int PAIR>
__device__ __forceinline__ void multiply(const Images &images, Room<WIDE> room, uint32_t rank, uint32_t group) {
    typedef Room<WIDE> R;
    Turn<R::STAGES> turn;
    const uint32_t lane = threadIdx.x % WARP;
    float sums[WIDE / 2];
    for (Tiles<WIDE, PAIR> tiles(images, rank); tiles.is_left(); tiles.next()) {
        uint32_t before = 0;
        for (uint32_t brick = 0; brick < images.bricks; brick++, turn.next()) {
            const uint32_t stage = room.bricks + turn.stage * R::STAGE;
            const uint64_t x = turned_rows(stage + group * (BRICK_BYTES / 2)), weight = turned_rows(stage + BRICK_BYTES);
            barrier_wait(room.full + 8 * turn.stage, turn.parity);
            products_begin();
            // 16 columns are 32 bytes, of which a descriptor counts 16.
#pragma unroll
            for (int k = 0; k < BRICK_COLUMNS / 16; k++) add_products(sums, x + 2 * k, weight + 2 * k, brick + k > 0);
            products_commit();
            // The stage before is read to its end, by all who read it here; its bringers are told.
            products_wait<1>();
            if (brick > 0 && lane < PAIR) barrier_arrive_at(before, lane);
            before = room.empty + 8 * turn.stage;
        }
        products_wait<0>();
        if (lane < PAIR) barrier_arrive_at(before, lane);
        finish<WIDE>(images, sums, tiles.of_x() * BRICK_ROWS + group * 64, tiles.of_weight());
    }
}

template <int WIDE, int PAIR> __device__ __forceinline__ void tiles_of(const Images &images) {
    typedef Room<WIDE> R;
    extern __shared__ uint8_t shared[];
    const R room(shared_address(shared));
    const uint32_t rank = PAIR == 1 ? 0 : block_of_cluster(), group = threadIdx.x / GROUP;
    if (threadIdx.x == 0) {
        for (int i = 0; i < R::STAGES; i++) {
            barrier_init(room.full + 8 * i, 1);
            // Every warp that multiplies, in all blocks that get what this one brings.
            barrier_init(room.empty + 8 * i, 2 * GROUP / WARP * PAIR);
        }
        barriers_are_ready();
    }
    if constexpr (PAIR > 1) cluster_meets();
    __syncthreads();
    begin();
    if (group == 0) {
        fewer_registers<BRINGS>();
        if (threadIdx.x == 0) bring<WIDE, PAIR>(images, room, rank);
    } else {
        more_registers<MULTIPLIES>();
        multiply<WIDE, PAIR>(images, room, rank, group - 1);
    }
    // Nobody leaves while others copy to it or arrive there.
    __syncthreads();
    if constexpr (PAIR > 1) cluster_meets();
}
#define TILES(WIDE, PAIR) tiles_of<WIDE, PAIR>(Images{weight, x, out, first, part, rows, bricks, count, ending});
#define BLOCKS_OF_CLUSTER(PAIR) __cluster_dims__(PAIR, 1, 1)
#else
#define TILES(WIDE, PAIR)
#define BLOCKS_OF_CLUSTER(PAIR)
#endif

#define PRODUCT(NAME, WIDE, PAIR)                                                                                      \
    KERNEL __launch_bounds__(3 * GROUP, 1) BLOCKS_OF_CLUSTER(PAIR) matmul_images_##NAME(                               \
        const uint8_t *weight, const uint8_t *x, float *out, uint32_t first, uint32_t part, uint32_t rows,             \
        uint32_t bricks, uint32_t count, uint32_t ending                                                               \
    ) {                                                                                                                \
        TILES(WIDE, PAIR)                                                                                              \
    }

PRODUCT(256, 256, 2)
PRODUCT(256_alone, 256, 1)
PRODUCT(128_alone, 128, 1)
