// `project_*(x, norm, weight, bias, out, .., how, rows, .., width, epsilon, finish, alpha, limit, batch, run, count)`: products of one
// row with up to three weights in panels of one format, with a norm before them and a bias, a gate or a sum behind them.
// `project_few_*` are those of `count` rows, two to eight, which `project_round(x, norm, room, width, count, columns)` has rounded
// into the room that is their `x`. A block ends `batch` panels at a time, each of whose rows has a thread.
// `run` is a power of two.
//
// Every multiprocessor has one block with panels side by side, whose warps take turns at runs of stages, pieces of a panel of 256
// columns; each has its next ones brought into shared memory while it multiplies. The first come before the kernels in front are done,
// for nobody writes weights; then the block makes rounded numbers of the row, or has those of a few rows brought, and their norm later
// scales the sums.

#include "../../tiles/cuda/bulk.cuh"
#include "../../tiles/cuda/curves.cuh"
#include "stages.cuh"

// `plan.rs` has the same.
#define MOST_WARPS 16
#define MOST_WARPS_OF_FEW 12
#define SLOTS 2
#define MOST_FEW 8
// Floats from those of a row to those of the next where sums of a few rows lie, so that lanes meet other banks.
#define APART (ROWS + 4)

struct Map {
    const uint8_t *weight;
    const float *bias;
    float *out;
    uint32_t rows;
};

// What follows a product; `GATE` and a curve is a gate of that curve.
enum Finish { STORE, ADD, CLAMPED, GATE };

__device__ __forceinline__ float curved(uint32_t curve, float x) {
    switch (curve) {
        case 0: return silu(x);
        case 1: return gelu_tanh(x);
        case 2: return gelu_erf(x);
        case 3: return sigmoid(x);
        default: return softplus(x);
    }
}

#define ARGUMENTS                                                                                                      \
    const float *x, const float *norm, const uint8_t *weight_0, const float *bias_0, float *out_0,                     \
        const uint8_t *weight_1, const float *bias_1, float *out_1, const uint8_t *weight_2, const float *bias_2,      \
        float *out_2, uint32_t how, uint32_t rows_0, uint32_t rows_1, uint32_t rows_2, uint32_t width, float epsilon,  \
        uint32_t finish, float alpha, float limit, uint32_t batch, uint32_t run, uint32_t count
#define GIVEN                                                                                                          \
    x, norm, weight_0, bias_0, out_0, weight_1, bias_1, out_1, weight_2, bias_2, out_2, how, rows_0, rows_1, rows_2,   \
        width, epsilon, finish, alpha, limit, batch, run, count

// Products of one row, or of a few.
template <class F, bool FEW> __device__ __forceinline__ void multiply_all(ARGUMENTS) {
#if __CUDA_ARCH__ >= 900
    extern __shared__ __align__(16) uint8_t shared[];
    __shared__ Map maps[3];
    __shared__ float squares_of[MOST_WARPS], factors[MOST_FEW];
    __shared__ uint64_t arrivals[MOST_WARPS][SLOTS];
    let_next_start();
    if (!FEW) run = 1;
    // Told by a lane, so that the compiler knows it to be one number.
    const uint32_t warp = __shfl_sync(~0u, threadIdx.x / WARP, 0), lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    const uint32_t chunks = width / COLUMNS, stages = (chunks + STAGE - 1) / STAGE;
    const uint32_t power = FEW ? __ffs(run) - 1 : 0, runs = (stages + run - 1) >> power, turn = warps * run;
    const uint32_t parts_of_panel = min(runs, warps), columns = FEW ? (count + 1) / 2 * 2 : 1;
    const uint32_t sums_of_part = FEW ? columns * APART : ROWS;
    const F f = {how};
    const uint32_t block_sides = ROWS * side_bytes_of(f.code(), how), line_bytes = 64 * bits_of(f.code());
    const uint32_t stage_sides = (STAGE >> parts_of(f.code(), how)) * block_sides, stage_lines = STAGE * line_bytes;
    const uint32_t sides_bytes = (chunks >> parts_of(f.code(), how)) * block_sides;
    const uint32_t panel_bytes = sides_bytes + chunks * line_bytes;
    // Panels of the block: some of all maps', one after another; where a gate joins two maps, a panel of each by turns.
    const bool gated = finish >= CLAMPED;
    const uint32_t end_0 = (rows_0 + ROWS - 1) / ROWS, end_1 = end_0 + (gated ? 0 : (rows_1 + ROWS - 1) / ROWS);
    const uint32_t units = end_1 + (gated ? 0 : (rows_2 + ROWS - 1) / ROWS);
    const uint32_t first_unit = units * blockIdx.x / gridDim.x;
    const uint32_t panels = (units * (blockIdx.x + 1) / gridDim.x - first_unit) * (gated ? 2 : 1);
    Piece *pieces = (Piece *)shared;
    float *room = FEW ? (float *)(shared + stages * COPIED_BYTES * columns) : (float *)(pieces + chunks);
    // Twice, so that warps need not wait for those that end a batch; once where all panels are one.
    const uint32_t rooms = FEW && (units + gridDim.x - 1) / gridDim.x * (gated ? 2 : 1) <= batch ? 1 : 2;
    uint8_t *slots = (uint8_t *)(room + rooms * batch * sums_of_part * parts_of_panel);
    uint8_t *own = slots + warp * SLOTS * (stage_sides + stage_lines);
    const uint32_t ready = shared_address(&arrivals[warp]);
    // Of a few rows each stage has a barrier.
    const uint32_t rows_ready = shared_address(slots) + warps * SLOTS * (stage_sides + stage_lines);

    if (threadIdx.x < 3) {
        maps[threadIdx.x] = threadIdx.x == 0   ? Map{weight_0, bias_0, out_0, rows_0}
                            : threadIdx.x == 1 ? Map{weight_1, bias_1, out_1, rows_1}
                                               : Map{weight_2, bias_2, out_2, rows_2};
    }
    if (lane < SLOTS) barrier_init(ready + 8 * lane, 1);
    if (FEW) {
        for (uint32_t i = threadIdx.x; i < stages; i += blockDim.x) barrier_init(rows_ready + 8 * i, 1);
    }
    barriers_are_ready();
    __syncthreads();

    // The map of a panel of the block; the panel is counted within the map then.
    auto number_of = [&](uint32_t &panel) {
        uint32_t unit = first_unit + (gated ? panel / 2 : panel);
        uint32_t map = gated ? panel % 2 : (unit >= end_0) + (unit >= end_1);
        panel = gated || map == 0 ? unit : unit - (map == 2 ? end_1 : end_0);
        return map;
    };
    auto map_of = [&](uint32_t &panel) -> const Map & { return maps[number_of(panel)]; };
    const bool is_one = is_elected();
    const uint32_t own_address = shared_address(own);
    // One lane has the engine bring a stage of a panel. All numbers are those of the warp, and are found before.
    auto fetch = [&](uint32_t panel, uint32_t stage, uint32_t slot) {
        if (panel >= panels) return;
        const uint32_t map = number_of(panel);
        const uint8_t *from = (map == 0 ? weight_0 : map == 1 ? weight_1 : weight_2) + (size_t)panel * panel_bytes;
        const uint32_t sides = min(stage_sides, sides_bytes - stage * stage_sides);
        const uint32_t lines = min(stage_lines, panel_bytes - sides_bytes - stage * stage_lines);
        const uint32_t to = own_address + slot * (stage_sides + stage_lines), word = ready + 8 * slot;
        const uint8_t *lines_from = from + sides_bytes + stage * stage_lines;
        from += stage * stage_sides;
        if (is_one) {
            barrier_expect(word, sides + lines);
            copy_in(to, from, sides, word);
            copy_in(to + stage_sides, lines_from, lines, word);
        }
    };
    auto into_panel = [&](uint32_t &panel, uint32_t &stage) {
        while (stage >= runs << power) stage -= runs << power, panel++;
    };
    // The next stage of a warp: of its run, or the first one of its next.
    auto advance = [&](uint32_t &panel, uint32_t &stage) {
        if (FEW && (stage + 1 & run - 1) != 0 && stage + 1 < stages) {
            stage++;
            return;
        }
        stage = (stage & ~(run - 1)) + turn;
        into_panel(panel, stage);
    };
    uint32_t stage = warp * run, panel = 0;
    into_panel(panel, stage);
    uint32_t next_panel = panel, next_stage = stage;
#pragma unroll 1
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        fetch(next_panel, next_stage, slot);
        advance(next_panel, next_stage);
    }
    // The panel that a thread ends of those that are ended at a time, and the row that it does so for.
    const uint32_t panel_of_thread = threadIdx.x / ROWS / (FEW ? count : 1);
    const uint32_t row_of_thread = FEW ? threadIdx.x / ROWS % count : blockIdx.y;
    // What is in the row of this thread of a panel before the product is added.
    auto read_of = [&](uint32_t panel, uint32_t end) {
        if (panel >= end) return 0.0f;
        const Map &map = map_of(panel);
        uint32_t row = panel * ROWS + threadIdx.x % ROWS;
        return row < map.rows ? map.out[(size_t)row_of_thread * map.rows + row] : 0.0f;
    };

    const float of_width = 1.0f / width;
    if constexpr (FEW) {
        wait_for_others();
        const uint8_t *rounded = (const uint8_t *)x;
        const uint32_t bytes = COPIED_BYTES * columns, skipped = has_halves(f.code()) ? STAGE * BESIDE_BYTES * columns : 0;
        for (uint32_t i = warp; lane == 0 && i < stages; i += warps) {
            barrier_expect(rows_ready + 8 * i, bytes);
            const uint8_t *from = rounded + (size_t)i * STAGE_BYTES * columns + skipped;
            copy_in(shared_address(shared) + i * bytes, from, bytes, rows_ready + 8 * i);
        }
        const uint32_t numbers = (width + SQUARES - 1) / SQUARES;
        const float *squares = (const float *)(rounded + (size_t)stages * STAGE_BYTES * columns);
        for (uint32_t row = warp; norm && row < count; row += warps) {
            float all = 0.0f;
            for (uint32_t i = lane; i < numbers; i += WARP) all += squares[row * numbers + i];
            all = warp_sum(all);
            if (lane == 0) factors[row] = 1.0f / sqrtf(all * of_width + epsilon);
        }
    } else {
        x += (size_t)blockIdx.y * width;
        const bool whole = ((uintptr_t)x | (uintptr_t)norm) % 16 == 0;
        float squares = whole ? round_row<true>(x, norm, width, pieces) : round_row<false>(x, norm, width, pieces);
        squares = warp_sum(squares);
        if (lane == 0) squares_of[warp] = squares;
        __syncthreads();
    }

    uint32_t slot = 0, phase = 0;
    for (uint32_t begin = 0, turn_of_room = 0; begin < panels; begin += batch, turn_of_room ^= 1) {
        float *sums = room + turn_of_room * batch * sums_of_part * parts_of_panel;
        const uint32_t end = min(begin + batch, panels);
        // What is there already, asked for long before it is wanted.
        const float before = finish == ADD ? read_of(begin + panel_of_thread, end) : 0.0f;
        while (panel < end) {
            const uint32_t here = panel, part = runs <= warps ? stage >> power : warp;
            float sum[FEW ? 4 : 2] = {};
            do {
                const uint32_t first = stage * STAGE, there = min(chunks - first, STAGE);
                const uint8_t *sides = own + slot * (stage_sides + stage_lines), *lines = sides + stage_sides;
                barrier_wait(ready + 8 * slot, phase);
                if constexpr (FEW) {
                    barrier_wait(rows_ready + 8 * stage, 0);
                    stage_of_few(f, sides, lines, shared + stage * COPIED_BYTES * columns, columns, there, sum);
                } else {
                    stage_of(f, sides, lines, pieces + first, there, sum);
                }
                __syncwarp();
                fetch(next_panel, next_stage, slot);
                advance(next_panel, next_stage);
                advance(panel, stage);
                slot = slot + 1 == SLOTS ? 0 : slot + 1;
                phase ^= slot == 0;
            } while (panel == here);
            float *to = sums + ((here - begin) * parts_of_panel + part) * sums_of_part;
            if constexpr (FEW) {
                to += lane % 4 * 2 * APART + lane / 4 * 2;
                if (lane % 4 * 2 < columns) {
                    *(float2 *)to = make_float2(sum[0], sum[2]);
                    *(float2 *)(to + APART) = make_float2(sum[1], sum[3]);
                }
            } else {
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    sum[i] += __shfl_xor_sync(~0u, sum[i], 1);
                    sum[i] += __shfl_xor_sync(~0u, sum[i], 2);
                }
                if (lane % 4 == 0) *(float2 *)(to + lane / 2) = make_float2(sum[0], sum[1]);
            }
        }
        // Before all others are done with their panels, so that nobody waits for it.
        float factor = 1.0f;
        if (!FEW && norm && threadIdx.x < batch * ROWS) {
            float all = 0.0f;
#pragma unroll 16
            for (uint32_t w = 0; w < warps; w++) all += squares_of[w];
            factor = 1.0f / sqrtf(all * of_width + epsilon);
        }
        __syncthreads();
        // A thread ends a row, of both maps where a gate joins them.
        uint32_t ended = begin + panel_of_thread * (gated ? 2 : 1);
        if (ended >= end) continue;
        if (FEW && norm) factor = factors[row_of_thread];
        auto sum_of = [&](uint32_t panel, const float *bias, uint32_t row) {
            const float *from = sums + (panel - begin) * parts_of_panel * sums_of_part + threadIdx.x % ROWS;
            if (FEW) from += row_of_thread * APART;
            float sum = 0.0f;
#pragma unroll 16
            for (uint32_t part = 0; part < parts_of_panel; part++) sum += from[part * sums_of_part];
            sum *= factor;
            return bias ? sum + bias[row] : sum;
        };
        uint32_t row = ended;
        const Map &map = map_of(row);
        row = row * ROWS + threadIdx.x % ROWS;
        if (row >= map.rows) continue;
        float value = sum_of(ended, map.bias, row) + before;
        if (gated) {
            float up = sum_of(ended + 1, bias_1, row);
            if (finish >= GATE) {
                value = up * curved(finish - GATE, value);
            } else {
                value = value > limit ? limit : value;
                up = up > limit ? limit : up;
                up = up < -limit ? -limit : up;
                value = silu(alpha * value) / alpha * (up + 1.0f);
            }
        }
        map.out[(size_t)row_of_thread * map.rows + row] = value;
    }
#endif
}

// What serves every format takes more registers, and leaves no room for the blocks of the next launch.
#define FORMAT(NAME, F)                                                                                                \
    KERNEL __launch_bounds__(WARP *MOST_WARPS, F::LINES > 8 ? 1 : 2) project_##NAME(ARGUMENTS) {                       \
        multiply_all<F, false>(GIVEN);                                                                                 \
    }                                                                                                                  \
    KERNEL __launch_bounds__(WARP *MOST_WARPS_OF_FEW, 1) project_few_##NAME(ARGUMENTS) {                               \
        multiply_all<F, true>(GIVEN);                                                                                  \
    }

FORMAT(q4_0, Known<Q4_0>)
FORMAT(q8_0, Known<Q8_0>)
FORMAT(q4_k, Known<Q4_K>)
FORMAT(q5_k, Known<Q5_K>)
FORMAT(q6_k, Known<Q6_K>)
FORMAT(mxfp4, Known<MXFP4>)
FORMAT(affine_4, Known<AFFINE + 4>)
FORMAT(any, Any)

KERNEL project_round(const float *x, const float *norm, uint8_t *room, uint32_t width, uint32_t count, uint32_t columns) {
    let_next_start();
    const uint32_t begin = (blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP) * SQUARES;
    if (begin >= width) return;
    const bool whole = ((uintptr_t)x | (uintptr_t)norm) % 16 == 0, there = blockIdx.y < count;
    if (whole) round_into<true>(x, norm, room, width, columns, blockIdx.y, there, begin);
    else round_into<false>(x, norm, room, width, columns, blockIdx.y, there, begin);
}
