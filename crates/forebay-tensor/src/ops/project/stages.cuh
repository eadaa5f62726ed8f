// Products of a stage of a panel, 16 rows by 256 columns, by tensor cores.
//
// They multiply 16 rows by 32 columns, and by eight columns of their own. With one row each of those is a piece of the row, so that all
// eight products are one result: a lane reads two rows of the panel of two pieces at a time, and scales two rows of its own two pieces.
// With a few rows each is a row, and every piece is a result, of which a lane scales two rows of the panel by two rows.

#pragma once

#include "../../tiles/cuda/factors.cuh"
#include "rounding.cuh"

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
    if (has_factors(code)) {
        float all[2] = {}, below[2] = {};
        Sides<2> beside;
#pragma unroll
        for (int p = 0; p < 2; p++) {
            const int part = 2 * t + p;
            beside = load_sides<2>(code, f.how, sides, part, 2 * g);
            int scale[2][2], minimum[2][2];
            factors_of<2>(code, beside, part, scale, minimum);
            const float4 rest = *(const float4 *)&pieces[part].d;
            const int sums[2] = {__float_as_int(rest.z), __float_as_int(rest.w)};
#pragma unroll
            for (int row = 0; row < 2; row++) {
                int one = first.at[2 * row + p], other = last.at[2 * row + p];
                if (keeps_upper(code)) one += other >> 4;
                if (has_halves(code)) {
                    one -= zero_of(code) * sums[0], other -= zero_of(code) * sums[1];
                    all[row] += rest.x * (float)(scale[0][row] * one + scale[1][row] * other);
                    if (has_minimum(code)) below[row] += rest.x * (float)(minimum[0][row] * sums[0] + minimum[1][row] * sums[1]);
                } else {
                    all[row] += rest.x * (float)(scale[0][row] * one);
                    if (has_minimum(code)) below[row] += rest.y * (float)minimum[0][row];
                }
            }
        }
#pragma unroll
        for (int row = 0; row < 2; row++) {
            sum[row] += beside.half(0, row) * all[row];
            if (has_minimum(code)) sum[row] -= beside.half(2, row) * below[row];
        }
        return;
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

// What the integers of a result begin at, as bits: as a float they are that number and what was added, if it is below four millions.
#define INTEGER_BITS 0x4b400000
#define INTEGER 12582912.0f
// Two ones of f16.
#define ONES 0x3c003c00

// Adds the products of 16 rows with 16 columns of eight rows.
__device__ __forceinline__ void multiply_16(Sums &c, uint2 a, int x) {
    asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+r"(c.at[0]), "+r"(c.at[1]), "+r"(c.at[2]), "+r"(c.at[3]) : "r"(a.x), "r"(a.y), "r"(x));
}

// Adds to `sum` the products of two rows of a panel, each with two of `columns` rows, an even number up to eight. `x` is where a stage
// of these is.
template <class F>
__device__ __forceinline__ void stage_of_few(
    F f, const uint8_t *sides, const uint8_t *lines, const uint8_t *x, uint32_t columns, uint32_t there, float (&sum)[4]
) {
    const int code = f.code(), g = threadIdx.x % WARP / 4, t = threadIdx.x % 4;
    const uint32_t side_bytes = ROWS * side_bytes_of(code, f.how);
    const int parts = parts_of(code, f.how);
    const uint32_t count = parts == 3 ? STAGE : there;
    const bool halves = has_halves(code);
    // In place of rows that are missing others are read; what comes of them is not kept.
    const uint8_t *codes = x + (halves ? 0 : STAGE * BESIDE_BYTES * columns) + min(g, columns - 1) * CODE_BYTES + 8 * t;
    const uint8_t *beside = x + (halves ? STAGE * CODE_BYTES * columns : 0) + min(2 * t, columns - 2) * BESIDE_BYTES;
    lines += 8 * g;
    // Blocks of a stage have one scale and one minimum above those of pieces, by which sums of the stage are multiplied.
    const bool above = parts == 3;
    float products[4] = {}, minimums[4] = {};
    constexpr int AT_ONCE = F::LINES > 8 ? 1 : STAGE;
#pragma unroll AT_ONCE
    for (uint32_t piece = 0; piece < STAGE; piece++) {
        if (piece >= count) break;
        const int part = piece & ((1 << parts) - 1);
        Sides<2> numbers = load_sides<2>(code, f.how, sides + (piece >> parts) * side_bytes, part, 2 * g);
        if (above) numbers.words[0] = ONES, numbers.words[2] = has_minimum(code) ? ONES : numbers.words[2];
        float scale[2][2], minimum[2][2];
        take_apart<2>(code, f.how, numbers, part, scale, minimum);
        const Lines<uint2> own = load_lines<uint2>(code, lines, piece, t, 0);
        uint2 low, high;
        quads_of(code, own.a.x, own.b.x, t, low.x, high.x);
        quads_of(code, own.a.y, own.b.y, t, low.y, high.y);
        const int2 quads = *(const int2 *)(codes + piece * columns * CODE_BYTES);
        const float4 two = *(const float4 *)(beside + piece * columns * BESIDE_BYTES);
        if (halves) {
            const int words[2] = {__float_as_int(two.y), __float_as_int(two.w)};
            int begin[2][2];
#pragma unroll
            for (int i = 0; i < 2; i++) {
                begin[0][i] = INTEGER_BITS - zero_of(code) * (int)(int16_t)words[i];
                begin[1][i] = INTEGER_BITS - zero_of(code) * (words[i] >> 16);
            }
            Sums first = {begin[0][0], begin[0][1], begin[0][0], begin[0][1]};
            Sums last = {begin[1][0], begin[1][1], begin[1][0], begin[1][1]};
            multiply_16(first, low, quads.x);
            multiply_16(last, high, quads.y);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int row = i / 2, word = words[i % 2];
                float both = scale[0][row] * (__int_as_float(first.at[i]) - INTEGER);
                both += scale[1][row] * (__int_as_float(last.at[i]) - INTEGER);
                const float d = i % 2 ? two.z : two.x;
                products[i] += d * both;
                if (has_minimum(code)) {
                    minimums[i] += d * (minimum[0][row] * (float)(int16_t)word + minimum[1][row] * (float)(word >> 16));
                }
            }
        } else {
            Sums all = {INTEGER_BITS, INTEGER_BITS, INTEGER_BITS, INTEGER_BITS};
            if (is_unsigned(code)) multiply_32<true>(all, low, high, quads.x, quads.y);
            else multiply_32(all, low, high, quads.x, quads.y);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int row = i / 2;
                const float d = i % 2 ? two.z : two.x, dsum = i % 2 ? two.w : two.y;
                float own = d * (__int_as_float(all.at[i]) - INTEGER);
                if (zero_of(code) != 0) own -= (float)zero_of(code) * dsum;
                products[i] += scale[0][row] * own;
                if (has_minimum(code)) minimums[i] += minimum[0][row] * dsum;
            }
        }
    }
    Sides<2> all;
    if (above) all = load_sides<2>(code, f.how, sides, 0, 2 * g);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        if (above) products[i] *= all.half(0, i / 2);
        if (above && has_minimum(code)) minimums[i] *= all.half(2, i / 2);
        sum[i] += products[i];
        if (has_minimum(code)) sum[i] += minimums[i];
    }
}
