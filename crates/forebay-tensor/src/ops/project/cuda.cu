// `project_*(x, norm, weight, bias, out, .., how, rows, .., width, epsilon, finish, alpha, limit, batch)`: products of one row with up to
// three weights in panels of one format, with a norm before them and a bias, a gate or a sum behind them. A block ends `batch` panels at
// a time, an even number; each of their rows has a thread.
//
// Every multiprocessor has one block with panels side by side, whose warps take turns at stages, pieces of a panel of 256 columns; each
// has its next ones brought into shared memory while it multiplies. The first come before the kernels in front are done, for nobody
// writes weights; then the block makes rounded numbers of the row, and its norm later scales the sums.
// Each 16 rows by 32 columns are multiplied by tensor cores. Of a stage's eight pieces of `x` each is a column of its own, so that all
// eight products are one result: a lane reads two rows of two pieces at a time, and scales two rows of its own two pieces.

#include "../../tiles/cuda/bulk.cuh"
#include "../../tiles/cuda/curves.cuh"
#include "../../tiles/cuda/panels.cuh"

// `plan.rs` has the same.
#define MOST_WARPS 16
#define STAGE 8
#define SLOTS 2

// 32 elements of the row: four by four the codes of the first and the last 16, as a lane wants them. `dsum` is `d` times the sum of
// all codes, `sums` are those of each half.
struct __align__(16) Piece {
    int2 codes[4];
    float d, dsum;
    int sums[2];
};

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

// Four elements from `i` on, which lie on a multiple of 16 bytes if they are `WHOLE`.
template <bool WHOLE> __device__ __forceinline__ float4 four_of(const float *x, uint32_t i) {
    if constexpr (WHOLE) return *(const float4 *)(x + i);
    else return make_float4(x[i], x[i + 1], x[i + 2], x[i + 3]);
}

// Four numbers rounded to nearest, held within a byte each; what is not a number becomes zero.
__device__ __forceinline__ uint32_t bytes_of(float4 x) {
    uint32_t bytes;
    asm("cvt.pack.sat.s8.s32.b32 %0, %1, %2, 0;" : "=r"(bytes) : "r"(__float2int_rn(x.w)), "r"(__float2int_rn(x.z)));
    asm("cvt.pack.sat.s8.s32.b32 %0, %1, %2, %0;" : "+r"(bytes) : "r"(__float2int_rn(x.y)), "r"(__float2int_rn(x.x)));
    return bytes;
}

// Rounds four elements of the row that this thread has from `i` on, 32 elements by 8 lanes, as `quant::rounded` does but for the last
// bit of a scale.
__device__ __forceinline__ void round_four(float4 x, uint32_t i, bool there, Piece *pieces) {
    const uint32_t lane = threadIdx.x % 8;
    // What is not a number is passed over.
    float most = fmaxf(fmaxf(fabsf(x.x), fabsf(x.y)), fmaxf(fabsf(x.z), fabsf(x.w)));
#pragma unroll
    for (int distance = 4; distance > 0; distance /= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, distance));
    float d = most * (1.0f / 127.0f), inverse = most == 0.0f || isinf(most) ? 0.0f : __fdividef(127.0f, most);
    uint32_t codes = bytes_of(make_float4(x.x * inverse, x.y * inverse, x.z * inverse, x.w * inverse));
    int half = __dp4a((int)codes, 0x01010101, 0);
    half += __shfl_xor_sync(~0u, half, 1);
    half += __shfl_xor_sync(~0u, half, 2);
    int other = __shfl_xor_sync(~0u, half, 4);
    if (!there) return;
    Piece &piece = pieces[i / COLUMNS];
    ((int *)piece.codes)[lane % 4 * 2 + lane / 4] = codes;
    if (lane == 0) {
        float4 rest = make_float4(d, d * (float)(half + other), __int_as_float(half), __int_as_float(other));
        *(float4 *)&piece.d = rest;
    }
}

// Makes pieces of the row, times `norm` where there is one; the sum of this thread's squares before that. Waits for other kernels
// before it reads `x`, and not before it reads what there is of `norm` at first.
template <bool WHOLE>
__device__ __forceinline__ float round_row(const float *x, const float *norm, uint32_t width, Piece *pieces) {
    constexpr int HELD = 4;
    const float4 zeros = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    const uint32_t end = (width + 127) / 128 * 128, step = 4 * blockDim.x;
    float squares = 0.0f;
    float4 weights[HELD];
    auto weigh = [&](uint32_t begin) {
#pragma unroll
        for (int j = 0; j < HELD; j++) {
            if (norm && begin + j * step < width) weights[j] = four_of<WHOLE>(norm, begin + j * step);
        }
    };
    weigh(4 * threadIdx.x);
    wait_for_others();
    // Lanes behind the row stay, so that a warp is whole.
    for (uint32_t begin = 4 * threadIdx.x; begin < end; begin += HELD * step) {
        float4 own[HELD];
#pragma unroll
        for (int j = 0; j < HELD; j++) own[j] = begin + j * step < width ? four_of<WHOLE>(x, begin + j * step) : zeros;
#pragma unroll
        for (int j = 0; j < HELD; j++) {
            uint32_t i = begin + j * step;
            if (i >= end) break;
            float4 four = own[j];
            if (norm) {
                float4 weight = weights[j];
                squares += four.x * four.x + four.y * four.y + (four.z * four.z + four.w * four.w);
                if (i < width) {
                    four = make_float4(four.x * weight.x, four.y * weight.y, four.z * weight.z, four.w * weight.w);
                }
            }
            round_four(four, i, i < width, pieces);
        }
        weigh(begin + HELD * step);
    }
    return squares;
}

// What tensor cores sum: of two rows side by side, the products with pieces `2 * t` and `2 * t + 1`.
struct Sums {
    int at[4];
};

// Adds the products of 16 rows with 16 columns of two pieces, in `x` and `y` of the lane that has the piece and zero elsewhere. Of both
// rows of a lane, `a` and `b` have four columns of either piece.
template <bool UNSIGNED = false>
__device__ __forceinline__ void multiply_32(Sums &c, uint2 a, uint2 b, int x, int y) {
    if constexpr (UNSIGNED) {
        asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+r"(c.at[0]), "+r"(c.at[1]), "+r"(c.at[2]), "+r"(c.at[3]) : "r"(a.x), "r"(a.y), "r"(b.x), "r"(b.y), "r"(x), "r"(y));
    } else {
        asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+r"(c.at[0]), "+r"(c.at[1]), "+r"(c.at[2]), "+r"(c.at[3]) : "r"(a.x), "r"(a.y), "r"(b.x), "r"(b.y), "r"(x), "r"(y));
    }
}

// Whether upper codes of four bits stay where they are, sixteen times as large.
__device__ __forceinline__ constexpr bool keeps_upper(int code) { return bits_of(code) == 4 && !is_looked_up(code); }

// Values of the first and the last 16 columns of a piece, of two rows whose words of the lane's lines are `a` and `b`.
__device__ __forceinline__ void values_of(int code, uint2 a, uint2 b, uint2 &low, uint2 &high) {
    const int t = threadIdx.x % 4;
    if (keeps_upper(code)) {
        low = make_uint2(a.x & 0x0f0f0f0f, a.y & 0x0f0f0f0f);
        high = make_uint2(a.x & 0xf0f0f0f0, a.y & 0xf0f0f0f0);
        return;
    }
    quads_of(code, a.x, b.x, t, low.x, high.x);
    quads_of(code, a.y, b.y, t, low.y, high.y);
}

// Adds to `sum` the products of two rows with two pieces of a stage. `lines` and `sides` are where the stage has them; `there` pieces
// are there.
template <class F>
__device__ __forceinline__ void stage_of(
    F f, const uint8_t *sides, const uint8_t *lines, const Piece *pieces, uint32_t there, float (&sum)[2]
) {
    const int code = f.code(), bits = bits_of(code), g = threadIdx.x % WARP / 4, t = threadIdx.x % 4;
    const uint32_t line_bytes = 64 * bits, side_bytes = ROWS * side_bytes_of(code, f.how);
    const int parts = parts_of(code, f.how);
    // Whole blocks of that many columns have all pieces.
    const uint32_t count = parts == 3 ? STAGE : there;
    const bool has_second = bits == 8 || bits == 6 || bits == 5 || bits == 3;
    const uint32_t first_line = bits >= 4 ? t : bits == 1 ? 0 : t & 1;
    const uint32_t second_line = bits == 8 ? t + 4 : bits == 6 ? 4 + (t & 1) : bits == 5 ? 4 : 2;

    int2 x = make_int2(0, 0);
    if (g < count) x = pieces[g].codes[t];
    const int2 even = g % 2 ? make_int2(0, 0) : x, odd = g % 2 ? x : make_int2(0, 0);
    Sums first = {}, last = {};
    lines += 8 * g;
    auto add = [&](Sums &to, const uint2 (&values)[2], int x, int y) {
        if (is_unsigned(code)) multiply_32<true>(to, values[0], values[1], x, y);
        else multiply_32(to, values[0], values[1], x, y);
    };
    // As many lines as there are registers for.
    constexpr int AT_ONCE = F::LINES > 4 ? 2 : 4;
#pragma unroll
    for (int begin = 0; begin < 4; begin += AT_ONCE) {
        uint2 a[AT_ONCE][2], b[AT_ONCE][2];
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
#pragma unroll
            for (int p = 0; p < 2; p++) {
                // What is not there is read from where something is; it meets a piece of zeros.
                const uint8_t *at = lines + min(2 * (begin + i) + p, count - 1) * line_bytes;
                a[i][p] = *(const uint2 *)(at + 64 * first_line);
                b[i][p] = has_second ? *(const uint2 *)(at + 64 * second_line) : a[i][p];
            }
        }
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            // Multiplied, and not chosen: there is more room for that beside all that is masked.
            int here = g / 2 == begin + i;
            asm("" : "+r"(here));
            uint2 low[2], high[2];
            values_of(code, a[i][0], b[i][0], low[0], high[0]);
            values_of(code, a[i][1], b[i][1], low[1], high[1]);
            add(first, low, even.x * here, odd.x * here);
            if (keeps_upper(code)) multiply_32<true>(last, high[0], high[1], even.y * here, odd.y * here);
            else add(has_halves(code) ? last : first, high, even.y * here, odd.y * here);
        }
    }
#pragma unroll
    for (int p = 0; p < 2; p++) {
        const uint32_t own = 2 * t + p;
        if (own >= count) continue;
        const int part = own & ((1 << parts) - 1);
        const Sides<2> beside = load_sides<2>(code, f.how, sides + (own >> parts) * side_bytes, part, 2 * g);
        float scale[2][2], minimum[2][2];
        take_apart<2>(code, f.how, beside, part, scale, minimum);
        const float4 rest = *(const float4 *)&pieces[own].d;
        const int sums[2] = {__float_as_int(rest.z), __float_as_int(rest.w)};
#pragma unroll
        for (int row = 0; row < 2; row++) {
            int one = first.at[2 * row + p], other = last.at[2 * row + p];
            if (keeps_upper(code)) one += other >> 4;
            if (has_halves(code)) {
                one -= zero_of(code) * sums[0], other -= zero_of(code) * sums[1];
                float both = scale[0][row] * (float)one + scale[1][row] * (float)other;
                if (has_minimum(code)) both += minimum[0][row] * (float)sums[0] + minimum[1][row] * (float)sums[1];
                sum[row] += rest.x * both;
            } else {
                if (zero_of(code) != 0) one -= zero_of(code) * (sums[0] + sums[1]);
                sum[row] += rest.x * (scale[0][row] * (float)one);
                if (has_minimum(code)) sum[row] += rest.y * minimum[0][row];
            }
        }
    }
}

#define ARGUMENTS                                                                                                      \
    const float *x, const float *norm, const uint8_t *weight_0, const float *bias_0, float *out_0,                     \
        const uint8_t *weight_1, const float *bias_1, float *out_1, const uint8_t *weight_2, const float *bias_2,      \
        float *out_2, uint32_t how, uint32_t rows_0, uint32_t rows_1, uint32_t rows_2, uint32_t width, float epsilon,  \
        uint32_t finish, float alpha, float limit, uint32_t batch
#define GIVEN                                                                                                          \
    x, norm, weight_0, bias_0, out_0, weight_1, bias_1, out_1, weight_2, bias_2, out_2, how, rows_0, rows_1, rows_2,   \
        width, epsilon, finish, alpha, limit, batch

template <class F> __device__ __forceinline__ void multiply_all(ARGUMENTS) {
#if __CUDA_ARCH__ >= 900
    extern __shared__ __align__(16) uint8_t shared[];
    __shared__ Map maps[3];
    __shared__ float squares_of[MOST_WARPS];
    __shared__ uint64_t arrivals[MOST_WARPS][SLOTS];
    let_next_start();
    const uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    const uint32_t chunks = width / COLUMNS, stages = (chunks + STAGE - 1) / STAGE, parts_of_panel = min(stages, warps);
    const F f = {how};
    const uint32_t block_sides = ROWS * side_bytes_of(f.code(), how), line_bytes = 64 * bits_of(f.code());
    const uint32_t stage_sides = (STAGE >> parts_of(f.code(), how)) * block_sides, stage_lines = STAGE * line_bytes;
    const uint32_t sides_bytes = (chunks >> parts_of(f.code(), how)) * block_sides;
    const uint32_t panel_bytes = sides_bytes + chunks * line_bytes;
    Piece *pieces = (Piece *)shared;
    float *room = (float *)(pieces + chunks);
    uint8_t *own = (uint8_t *)(room + 2 * batch * ROWS * parts_of_panel) + warp * SLOTS * (stage_sides + stage_lines);
    const uint32_t ready = shared_address(&arrivals[warp]);

    if (threadIdx.x < 3) {
        maps[threadIdx.x] = threadIdx.x == 0   ? Map{weight_0, bias_0, out_0, rows_0}
                            : threadIdx.x == 1 ? Map{weight_1, bias_1, out_1, rows_1}
                                               : Map{weight_2, bias_2, out_2, rows_2};
    }
    if (lane < SLOTS) barrier_init(ready + 8 * lane, 1);
    barriers_are_ready();
    __syncthreads();

    // Panels of the block: some of all maps', one after another; where a gate joins two maps, a panel of each by turns.
    const bool gated = finish >= CLAMPED;
    const uint32_t end_0 = (rows_0 + ROWS - 1) / ROWS, end_1 = end_0 + (gated ? 0 : (rows_1 + ROWS - 1) / ROWS);
    const uint32_t units = end_1 + (gated ? 0 : (rows_2 + ROWS - 1) / ROWS);
    const uint32_t first_unit = units * blockIdx.x / gridDim.x;
    const uint32_t panels = (units * (blockIdx.x + 1) / gridDim.x - first_unit) * (gated ? 2 : 1);
    // The map of a panel of the block; the panel is counted within the map then.
    auto map_of = [&](uint32_t &panel) -> const Map & {
        uint32_t unit = first_unit + (gated ? panel / 2 : panel);
        uint32_t map = gated ? panel % 2 : (unit >= end_0) + (unit >= end_1);
        panel = gated || map == 0 ? unit : unit - (map == 2 ? end_1 : end_0);
        return maps[map];
    };
    // One lane has the engine bring a stage of a panel.
    auto fetch = [&](uint32_t panel, uint32_t stage, uint32_t slot) {
        if (lane != 0 || panel >= panels) return;
        const uint8_t *from = map_of(panel).weight;
        from += (size_t)panel * panel_bytes;
        const uint32_t sides = min(stage_sides, sides_bytes - stage * stage_sides);
        const uint32_t lines = min(stage_lines, panel_bytes - sides_bytes - stage * stage_lines);
        const uint32_t to = shared_address(own) + slot * (stage_sides + stage_lines), word = ready + 8 * slot;
        barrier_expect(word, sides + lines);
        copy_in(to, from + stage * stage_sides, sides, word);
        copy_in(to + stage_sides, from + sides_bytes + stage * stage_lines, lines, word);
    };
    auto advance = [&](uint32_t &panel, uint32_t &stage) {
        stage += warps;
        while (stage >= stages) stage -= stages, panel++;
    };
    uint32_t stage = warp, panel = 0;
    while (stage >= stages) stage -= stages, panel++;
    uint32_t next_panel = panel, next_stage = stage;
#pragma unroll 1
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        fetch(next_panel, next_stage, slot);
        advance(next_panel, next_stage);
    }
    // What is in the row of this thread of a panel before the product is added.
    auto read_of = [&](uint32_t panel, uint32_t end) {
        if (panel >= end) return 0.0f;
        const Map &map = map_of(panel);
        uint32_t row = panel * ROWS + threadIdx.x % ROWS;
        return row < map.rows ? map.out[(size_t)blockIdx.y * map.rows + row] : 0.0f;
    };

    x += (size_t)blockIdx.y * width;
    const bool whole = ((uintptr_t)x | (uintptr_t)norm) % 16 == 0;
    float squares = whole ? round_row<true>(x, norm, width, pieces) : round_row<false>(x, norm, width, pieces);
    squares = warp_sum(squares);
    if (lane == 0) squares_of[warp] = squares;
    __syncthreads();

    const float of_width = 1.0f / width;
    uint32_t slot = 0, phase = 0;
    for (uint32_t begin = 0, turn_of_room = 0; begin < panels; begin += batch, turn_of_room ^= 1) {
        float *sums = room + turn_of_room * batch * ROWS * parts_of_panel;
        const uint32_t end = min(begin + batch, panels);
        // What is there already, asked for long before it is wanted.
        const float before = finish == ADD && threadIdx.x < batch * ROWS ? read_of(begin + threadIdx.x / ROWS, end) : 0.0f;
        while (panel < end) {
            const uint32_t here = panel, part = stages <= warps ? stage : warp;
            float sum[2] = {};
            do {
                const uint32_t first = stage * STAGE;
                const uint8_t *sides = own + slot * (stage_sides + stage_lines);
                barrier_wait(ready + 8 * slot, phase);
                stage_of(f, sides, sides + stage_sides, pieces + first, min(chunks - first, STAGE), sum);
                __syncwarp();
                fetch(next_panel, next_stage, slot);
                advance(next_panel, next_stage);
                advance(panel, stage);
                slot ^= 1, phase ^= slot == 0;
            } while (panel == here);
#pragma unroll
            for (int i = 0; i < 2; i++) {
                sum[i] += __shfl_xor_sync(~0u, sum[i], 1);
                sum[i] += __shfl_xor_sync(~0u, sum[i], 2);
            }
            if (lane % 4 == 0) {
                float *to = sums + ((here - begin) * parts_of_panel + part) * ROWS + lane / 2;
                *(float2 *)to = make_float2(sum[0], sum[1]);
            }
        }
        // Before all others are done with their panels, so that nobody waits for it.
        float factor = 1.0f;
        if (norm && threadIdx.x < batch * ROWS) {
            float all = 0.0f;
#pragma unroll 16
            for (uint32_t w = 0; w < warps; w++) all += squares_of[w];
            factor = 1.0f / sqrtf(all * of_width + epsilon);
        }
        __syncthreads();
        // A thread ends a row, of both maps where a gate joins them.
        uint32_t ended = begin + threadIdx.x / ROWS * (gated ? 2 : 1);
        if (threadIdx.x >= batch * ROWS || ended >= end) continue;
        auto sum_of = [&](uint32_t panel, const float *bias, uint32_t row) {
            const float *from = sums + (panel - begin) * parts_of_panel * ROWS + threadIdx.x % ROWS;
            float sum = 0.0f;
#pragma unroll 16
            for (uint32_t part = 0; part < parts_of_panel; part++) sum += from[part * ROWS];
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
        map.out[(size_t)blockIdx.y * map.rows + row] = value;
    }
#endif
}

// What serves every format takes more registers, and leaves no room for the blocks of the next launch.
#define FORMAT(NAME, F)                                                                                                \
    KERNEL __launch_bounds__(WARP *MOST_WARPS, F::LINES > 8 ? 1 : 2) project_##NAME(ARGUMENTS) { multiply_all<F>(GIVEN); }

FORMAT(q4_0, Known<Q4_0>)
FORMAT(q8_0, Known<Q8_0>)
FORMAT(q4_k, Known<Q4_K>)
FORMAT(q5_k, Known<Q5_K>)
FORMAT(q6_k, Known<Q6_K>)
FORMAT(mxfp4, Known<MXFP4>)
FORMAT(affine_4, Known<AFFINE + 4>)
FORMAT(any, Any)
