// `matmul_flight_*(weight, .., x, out, .., rows, .., how, width, count, add)`: products of panels and an image of rows, on cards of
// 9.0.
//
// Up to three weights of a format meet the same rows; one that is missing has no rows. A tile is 128 rows of a weight and `N` of `x`. Blocks take one tile after another, those that share rows of the weight
// together; or `SPLIT` of them, a cluster, share the columns of one tile and sum what they have in the end. In a block four
// warps bring stages of 64 columns to shared memory, panels as they are and rows of `x`; two warpgroups multiply, each 64 rows of the
// weight. A warp owns a panel, whose words hold just what a lane wants of the first operand: it makes f16 of the next 64 columns
// in registers while the last ones are multiplied.

#include "../../tiles/cuda/images.cuh"
#include "../../tiles/cuda/warpgroup.cuh"

#define GROUP 128
// Panels of a tile, and of a warpgroup.
#define PANELS 8
#define OF_GROUP 4
// Registers of a thread that brings and of one that multiplies; before they are told apart all have as many.
#define BRINGS 56
#define MULTIPLIES 224

#if HAS_WARPGROUPS

// A weight, and where its products go.
struct Part {
    const uint8_t *weight;
    float *out;
    uint32_t rows;

    __device__ __forceinline__ uint32_t tiles() const { return (rows + PANELS * ROWS - 1) / (PANELS * ROWS); }
};

struct Product {
    Part first, second, third;
    const uint8_t *x;
    uint32_t width, count;
    // Whether products are added to what is there.
    bool add;
};

// What a tile needs of shared memory, in stages of 64 columns: rows of `x`, then for each panel its lines and its sides.
template <int N> struct Room {
    static constexpr int OF_X = N * BRICK_COLUMNS * 2;
    static constexpr int LINES = BRICK_COLUMNS * ROWS, SIDES = 384;
    static constexpr int STAGE = OF_X + PANELS * (LINES + SIDES);
    static constexpr int STAGES = N == 256 ? 5 : 7;
    uint32_t stages, full, empty;

    // Stages begin at multiples of 1024; barriers lie behind them.
    __device__ __forceinline__ Room(uint32_t address) {
        stages = (address + 1023) & ~1023u;
        full = stages + STAGES * STAGE;
        empty = full + 8 * STAGES;
    }
    __device__ __forceinline__ uint32_t x(uint32_t stage) const { return stages + stage * STAGE; }
    __device__ __forceinline__ uint32_t panel(uint32_t stage, uint32_t panel) const {
        return x(stage) + OF_X + panel * (LINES + SIDES);
    }
};
static_assert(Room<256>::STAGE % 1024 == 0 && Room<128>::STAGE % 1024 == 0, "turned rows");

// The tiles of a block, one after another; the blocks of a cluster have one together.
template <int N, int SPLIT> struct Tiles {
    uint32_t along_x, count, tile;

    __device__ __forceinline__ Tiles(const Product &product) {
        along_x = (product.count + N - 1) / N;
        count = along_x * (product.first.tiles() + product.second.tiles() + product.third.tiles());
        tile = blockIdx.x / SPLIT;
    }
    __device__ __forceinline__ bool is_left() const { return tile < count; }
    __device__ __forceinline__ void next() { tile += gridDim.x / SPLIT; }
    __device__ __forceinline__ uint32_t first_of_x() const { return tile % along_x * N; }
    // Which weight the tile is of, and its first panel.
    __device__ __forceinline__ Part part(const Product &product, uint32_t &first_panel) const {
        uint32_t number = tile / along_x;
        Part part = product.first;
        if (number >= part.tiles()) {
            number -= part.tiles(), part = product.second;
            if (number >= part.tiles()) number -= part.tiles(), part = product.third;
        }
        first_panel = number * PANELS;
        return part;
    }
};

// The bricks of a row that a block multiplies, up to `end`.
template <int SPLIT> struct Own {
    uint32_t all, begin, end;

    __device__ __forceinline__ Own(const Product &product, uint32_t rank) {
        all = (product.width + BRICK_COLUMNS - 1) / BRICK_COLUMNS;
        begin = all * rank / SPLIT;
        end = all * (rank + 1) / SPLIT;
    }
};

// How the panels of a format lie.
template <class F> struct Lie {
    F f;
    int per_block;
    uint32_t chunks, side_bytes;

    __device__ __forceinline__ Lie(F f, const Product &product) : f(f) {
        chunks = product.width / COLUMNS;
        per_block = parts_of(f.code(), f.how);
        side_bytes = ROWS * side_bytes_of(f.code(), f.how);
    }
    // Times 32 columns of a brick: two, or one at the end of rows.
    __device__ __forceinline__ uint32_t chunks_of(uint32_t brick) const { return min(chunks - 2 * brick, 2); }
    __device__ __forceinline__ uint32_t line_bytes(uint32_t brick) const { return chunks_of(brick) * (64 * bits_of(f.code())); }
    __device__ __forceinline__ uint32_t bytes_beside(uint32_t brick) const {
        return per_block == 0 ? chunks_of(brick) * side_bytes : side_bytes;
    }
};

// What a warp does that brings: two panels, and the first one rows of `x`. One lane of it does so, one copy after another.
template <class F, int N, int SPLIT>
__device__ __forceinline__ void bring(F f, const Product &product, Room<N> room, uint32_t rank, uint32_t warp) {
    typedef Room<N> R;
    constexpr uint32_t PIECE = R::OF_X < BRICK_BYTES ? R::OF_X : BRICK_BYTES;
    Turn<R::STAGES> turn;
    const Own<SPLIT> own(product, rank);
    const Lie<F> lie(f, product);
    const uint32_t last = (product.count + BRICK_ROWS - 1) / BRICK_ROWS - 1;
    for (Tiles<N, SPLIT> tiles(product); tiles.is_left(); tiles.next()) {
        // In place of bricks and panels that are missing the last one is brought; what comes of it is not written.
        PanelPlace place[2];
        uint32_t first_panel;
        const Part part = tiles.part(product, first_panel);
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const uint32_t number = min(first_panel + 2 * warp + i, (part.rows + ROWS - 1) / ROWS - 1);
            place[i] = panel_of(f, part.weight, number, product.width);
        }
        const uint32_t row = tiles.first_of_x();
        for (uint32_t brick = own.begin; brick < own.end; brick++, turn.next()) {
            const uint32_t full = room.full + 8 * turn.stage, lines = lie.line_bytes(brick), sides = lie.bytes_beside(brick);
            barrier_wait(room.empty + 8 * turn.stage, turn.parity ^ 1);
            barrier_expect(full, (warp == 0 ? R::OF_X : 0) + 2 * (lines + sides));
            if (warp == 0) {
#pragma unroll
                for (int i = 0; i < R::OF_X / PIECE; i++) {
                    const size_t at = (size_t)min(row / BRICK_ROWS + i, last) * own.all + brick;
                    copy_in(room.x(turn.stage) + i * PIECE, product.x + at * BRICK_BYTES + row % BRICK_ROWS * 128, PIECE, full);
                }
            }
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const uint32_t panel = room.panel(turn.stage, 2 * warp + i);
                copy_in(panel, place[i].lines + (size_t)brick * (128 * bits_of(f.code())), lines, full);
                copy_in(panel + R::LINES, place[i].sides + (size_t)(2 * brick >> lie.per_block) * lie.side_bytes, sides, full);
            }
        }
    }
}

// What a lane multiplies of 64 columns of two rows of its panel.
typedef uint32_t Halves[16];

// Makes them of a panel in shared memory.
template <class F>
__device__ __forceinline__ void decode(const Lie<F> &lie, uint32_t brick, const uint8_t *lines, const uint8_t *sides, Halves &to) {
    const F f = lie.f;
    const int lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    Lines<uint32_t> words[2][2];
    Sides<1> beside[2][2];
    int parts[2];
#pragma unroll
    for (int s = 0; s < 2; s++) {
        // Past the last column `x` is zero, and the weight anything finite.
        const uint32_t chunk = min(s, lie.chunks_of(brick) - 1);
        parts[s] = (2 * brick + chunk) & ((1 << lie.per_block) - 1);
        const uint8_t *side = sides + (lie.per_block == 0 ? chunk * lie.side_bytes : 0);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            words[s][h] = load_lines<uint32_t>(f.code(), lines, chunk, t, 4 * (g + 8 * h));
            beside[s][h] = load_sides<1>(f.code(), f.how, side, parts[s], g + 8 * h);
        }
    }
#pragma unroll
    for (int s = 0; s < 2; s++) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float scale[2][1], minimum[2][1] = {};
            take_apart<1>(f.code(), f.how, beside[s][h], parts[s], scale, minimum);
            uint32_t low, high;
            quads_of(f.code(), words[s][h].a, words[s][h].b, t, low, high);
            const uint2 a = quad_in_halves(f, low, scale[0][0], minimum[0][0]), b = quad_in_halves(f, high, scale[1][0], minimum[1][0]);
            to[8 * s + h] = a.x, to[8 * s + h + 2] = a.y;
            to[8 * s + h + 4] = b.x, to[8 * s + h + 6] = b.y;
        }
    }
}

// Writes the sums of 16 rows of the weight, the first of which is `row`, and of rows of `x` from `n` on.
template <int N>
__device__ __forceinline__ void keep(
    const Product &product, const Part &part, const float (&sums)[N / 2], uint32_t n, uint32_t row
) {
    const int lane = threadIdx.x % WARP;
    row += lane / 4;
    n += lane % 4 * 2;
    float *out = part.out + (size_t)n * part.rows + row;
#pragma unroll
    for (int i = 0; i < N / 8; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const uint32_t at = 8 * i + j % 2, right = j / 2 * 8;
            if (n + at >= product.count || row + right >= part.rows) continue;
            float *to = out + (size_t)at * part.rows + right;
            // Nobody else adds there, so that the order of sums is fixed; and nobody waits for what is there.
            if (product.add) atomicAdd(to, sums[4 * i + j] * UP);
            else *to = sums[4 * i + j] * UP;
        }
    }
}

// The same, of what the blocks of a cluster have summed: each writes a part of the rows of `x`, and adds in the same order.
template <int N, int SPLIT>
__device__ __forceinline__ void keep_together(
    const Product &product, const Part &part, const float (&sums)[N / 2], uint32_t room, uint32_t rank, uint32_t n, uint32_t row
) {
    // Lines of 128 rows of the weight, as many as there are rows of `x`; their end spreads lines over the banks.
    constexpr uint32_t LINE = (PANELS * ROWS + 4) * 4, EACH = N / SPLIT;
    const uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP - GROUP / WARP;
    // The room is that of stages, which both warpgroups have read to the end.
    asm volatile("bar.sync 1, 256;" ::: "memory");
#pragma unroll
    for (int i = 0; i < N / 2; i++) {
        const uint32_t line = i / 4 * 8 + lane % 4 * 2 + i % 2, at = warp * ROWS + lane / 4 + i / 2 % 2 * 8;
        store_shared(room + line * LINE + at * 4, sums[i]);
    }
    cluster_meets();
    const uint32_t first = row + lane * 4;
    const bool whole = part.rows % 4 == 0 && (uintptr_t)part.out % 16 == 0 && first + 3 < part.rows;
    for (uint32_t line = rank * EACH + warp; line < (rank + 1) * EACH; line += 2 * GROUP / WARP) {
        if (n + line >= product.count) break;
        float4 parts[SPLIT], sum;
#pragma unroll
        for (int block = 0; block < SPLIT; block++) parts[block] = load_from(room + line * LINE + lane * 16, block);
        sum = parts[0];
#pragma unroll
        for (int block = 1; block < SPLIT; block++) {
            sum.x += parts[block].x, sum.y += parts[block].y, sum.z += parts[block].z, sum.w += parts[block].w;
        }
        sum.x *= UP, sum.y *= UP, sum.z *= UP, sum.w *= UP;
        float *out = part.out + (size_t)(n + line) * part.rows + first;
        if (whole) {
            if (product.add) atomicAdd((float4 *)out, sum);
            else *(float4 *)out = sum;
            continue;
        }
        const float own[4] = {sum.x, sum.y, sum.z, sum.w};
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (first + i < part.rows) out[i] = own[i] + (product.add ? out[i] : 0.0f);
        }
    }
}

template <class F, int N, int SPLIT>
__device__ __forceinline__ void multiply(F f, const Product &product, Room<N> room, const uint8_t *shared, uint32_t rank) {
    typedef Room<N> R;
    Turn<R::STAGES> turn;
    const Own<SPLIT> own(product, rank);
    const Lie<F> lie(f, product);
    const uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP - GROUP / WARP;
    const uint32_t base = shared_address(shared);
    float sums[N / 2];
    for (Tiles<N, SPLIT> tiles(product); tiles.is_left(); tiles.next()) {
        Halves first, second;
        uint32_t before = 0;
        auto make = [&](uint32_t brick, Halves &to) {
            barrier_wait(room.full + 8 * turn.stage, turn.parity);
            const uint8_t *panel = shared + (room.panel(turn.stage, warp) - base);
            decode(lie, brick, panel, panel + R::LINES, to);
        };
        auto step = [&](uint32_t brick, const Halves &now, Halves &then) {
            const uint64_t x = turned_rows(room.x(turn.stage));
            products_begin();
            // 16 columns are 32 bytes, of which a descriptor counts 16.
#pragma unroll
            for (int k = 0; k < BRICK_COLUMNS / 16; k++) add_products(sums, now + 4 * k, x + 2 * k, brick > own.begin || k > 0);
            products_commit();
            // The stage before is read to its end, by all who read it here, and so is `then`; who brings is told.
            products_wait<1>();
            if (brick > own.begin && lane == 0) barrier_arrive(before);
            before = room.empty + 8 * turn.stage;
            turn.next();
            if (brick + 1 < own.end) make(brick + 1, then);
        };
        make(own.begin, first);
#pragma unroll 1
        for (uint32_t brick = own.begin; brick < own.end; brick += 2) {
            step(brick, first, second);
            if (brick + 1 < own.end) step(brick + 1, second, first);
        }
        products_wait<0>();
        if (lane == 0) barrier_arrive(before);
        uint32_t first_panel;
        const Part part = tiles.part(product, first_panel);
        if constexpr (SPLIT == 1) {
            keep<N>(product, part, sums, tiles.first_of_x(), (first_panel + warp) * ROWS);
        } else {
            keep_together<N, SPLIT>(product, part, sums, room.stages, rank, tiles.first_of_x(), first_panel * ROWS);
        }
    }
}

template <class F, int N, int SPLIT> __device__ __forceinline__ void tiles_of(F f, const Product &product) {
    typedef Room<N> R;
    extern __shared__ uint8_t shared[];
    const R room(shared_address(shared));
    const uint32_t rank = SPLIT == 1 ? 0 : block_of_cluster();
    if (threadIdx.x == 0) {
        for (int i = 0; i < R::STAGES; i++) {
            // Every warp that brings, and every one that multiplies.
            barrier_init(room.full + 8 * i, GROUP / WARP);
            barrier_init(room.empty + 8 * i, 2 * GROUP / WARP);
        }
        barriers_are_ready();
    }
    __syncthreads();
    begin();
    if (threadIdx.x < GROUP) {
        fewer_registers<BRINGS>();
        // What all lanes know to be the same needs no lane's registers.
        const uint32_t warp = __shfl_sync(~0u, threadIdx.x / WARP, 0);
        if (threadIdx.x % WARP == 0) bring<F, N, SPLIT>(f, product, room, rank, warp);
        __syncwarp();
        // Those that multiply meet to sum.
        if constexpr (SPLIT > 1) cluster_meets();
    } else {
        more_registers<MULTIPLIES>();
        multiply<F, N, SPLIT>(f, product, room, shared, rank);
    }
    // Nobody leaves while others read what it has summed.
    if constexpr (SPLIT > 1) cluster_meets();
}
#define TILES(F, N, SPLIT)                                                                                             \
    tiles_of<F, N, SPLIT>(F{how}, Product{{weight0, out0, rows0}, {weight1, out1, rows1}, {weight2, out2, rows2}, x, width, count, add != 0});
#define CLUSTER(BLOCKS) __cluster_dims__(BLOCKS, 1, 1)
#else
#define TILES(F, N, SPLIT)
#define CLUSTER(BLOCKS)
#endif

#define PRODUCT(NAME, F, N, SPLIT)                                                                                     \
    KERNEL __launch_bounds__(3 * GROUP, 1) CLUSTER(SPLIT) matmul_flight_##NAME(                                        \
        const uint8_t *weight0, const uint8_t *weight1, const uint8_t *weight2, const uint8_t *x, float *out0,         \
        float *out1, float *out2, uint32_t rows0, uint32_t rows1, uint32_t rows2, uint32_t how, uint32_t width,        \
        uint32_t count, uint32_t add                                                                                   \
    ) {                                                                                                                \
        TILES(F, N, SPLIT)                                                                                             \
    }

#define FORMAT(NAME, F)                                                                                                \
    PRODUCT(256_1_##NAME, F, 256, 1)                                                                                   \
    PRODUCT(128_1_##NAME, F, 128, 1)                                                                                   \
    PRODUCT(128_2_##NAME, F, 128, 2)

FORMAT(q4_0, Known<Q4_0>)
FORMAT(q8_0, Known<Q8_0>)
FORMAT(q4_k, Known<Q4_K>)
FORMAT(q5_k, Known<Q5_K>)
FORMAT(q6_k, Known<Q6_K>)
FORMAT(mxfp4, Known<MXFP4>)
FORMAT(affine_4, Known<AFFINE + 4>)
FORMAT(any, Any)
