// Weights in panels, as `quant/panel.rs` draws them: 16 rows, whose codes of 32 columns lie in lines of 64 bytes.
//
// Four columns side by side are a quad, which is four bytes of a word. A lane that has line `t` of a plane of four bits has
// quads `t` and `t + 4`; for other widths it looks at the lines that hold these two. Everything here is told the format
// by a code; where the code is a constant the compiler keeps one case, and `Any` is told when it runs.
// An element is `scale * (value - zero) + minimum`. Next: `ops/matmul/panels.cu`.

#pragma once

#include "begin.cuh"

// As `form` in `panels.rs` numbers them; affine formats of n bits are `AFFINE + n`.
enum PanelCode {
    Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, TQ2_0, Q1_0, Q2_0, MXFP4, NVFP4,
    MLX_MXFP4, MLX_NVFP4, AFFINE = 32
};

#define ROWS 16
#define COLUMNS 32

__device__ __forceinline__ constexpr int bits_of(int code) {
    switch (code) {
        case Q5_0: case Q5_1: case Q5_K: return 5;
        case Q8_0: return 8;
        case Q2_K: case TQ2_0: case Q2_0: return 2;
        case Q3_K: return 3;
        case Q6_K: return 6;
        case Q1_0: return 1;
        default: return code > AFFINE ? code - AFFINE : 4;
    }
}

// A format that the compiler knows. `how` is the word of a launch that says how a weight is multiplied: the type of scales is
// its second byte; its last one is the code and, above six bits, how often a block of an affine format has 32 columns, as
// a power of two.
template <int CODE> struct Known {
    // Lines of 32 columns; more than there can be where that is not known.
    static constexpr int LINES = bits_of(CODE);
    uint32_t how;
    __device__ constexpr int code() const { return CODE; }
};

// Any format.
struct Any {
    static constexpr int LINES = 9;
    uint32_t how;
    __device__ int code() const { return how >> 24 & 63; }
};

__device__ __forceinline__ int scale_type_of(uint32_t how) { return how >> 8 & 255; }

__device__ __forceinline__ constexpr int zero_of(int code) {
    switch (code) {
        case Q4_0: return 8;
        case Q5_0: return 16;
        case Q3_K: return 4;
        case Q6_K: return 32;
        case TQ2_0: case Q1_0: case Q2_0: return 1;
        default: return 0;
    }
}

// Whether 16 columns have a scale of their own, and not 32 or more.
__device__ __forceinline__ constexpr bool has_halves(int code) {
    return code == Q2_K || code == Q3_K || code == Q6_K || code == NVFP4 || code == MLX_NVFP4;
}

__device__ __forceinline__ constexpr bool has_minimum(int code) {
    return code == Q4_1 || code == Q5_1 || code == Q2_K || code == Q4_K || code == Q5_K || code > AFFINE;
}

__device__ __forceinline__ constexpr bool is_looked_up(int code) {
    return code == IQ4_NL || code == IQ4_XS || (code >= MXFP4 && code <= MLX_NVFP4);
}

// Bytes beside the codes of a block of a row.
__device__ __forceinline__ uint32_t side_bytes_of(int code, uint32_t how) {
    switch (code) {
        case Q4_1: case Q5_1: case NVFP4: return 4;
        case Q2_K: return 20;
        case Q3_K: return 14;
        case Q4_K: case Q5_K: return 16;
        case Q6_K: return 18;
        case IQ4_XS: return 8;
        case MXFP4: case MLX_MXFP4: return 1;
        default: return code > AFFINE ? (scale_type_of(how) == 3 ? 8 : 4) : 2;
    }
}

// Where a panel's parts are.
struct PanelPlace {
    const uint8_t *sides;
    const uint8_t *lines;
};

// How often a block has 32 columns, as a power of two.
__device__ __forceinline__ int parts_of(int code, uint32_t how) {
    switch (code) {
        case Q2_K: case Q3_K: case Q4_K: case Q5_K: case Q6_K: case IQ4_XS: case TQ2_0: return 3;
        case Q1_0: return 2;
        case Q2_0: case NVFP4: return 1;
        default: return code > AFFINE ? how >> 30 : 0;
    }
}

template <class F> __device__ __forceinline__ PanelPlace panel_of(F f, const uint8_t *weight, uint32_t panel, uint32_t width) {
    size_t blocks = width / COLUMNS >> parts_of(f.code(), f.how);
    size_t sides = ROWS * blocks * side_bytes_of(f.code(), f.how);
    size_t lines = (size_t)width * (ROWS / 8) * bits_of(f.code());
    const uint8_t *start = weight + panel * (sides + lines);
    return {start, start + sides};
}

// What a lane reads of the codes of 32 columns: two words, or two times four of rows side by side.
template <class T> struct Lines {
    T a, b;
};

// The lines of quads `t` and `t + 4`; `bytes` is where the lane's rows begin in a line.
template <class T>
__device__ __forceinline__ Lines<T> load_lines(int code, const uint8_t *lines, uint32_t chunk, int t, int bytes) {
    const int bits = bits_of(code);
    lines += chunk * (64 * bits) + bytes;
    auto line = [&](int number) { return *(const T *)(lines + 64 * number); };
    Lines<T> got;
    got.a = line(bits >= 4 ? t : bits == 1 ? 0 : t & 1);
    got.b = bits == 8 ? line(t + 4) : bits == 6 ? line(4 + (t & 1)) : bits == 5 ? line(4) : bits == 3 ? line(2) : got.a;
    return got;
}

// Values of a table of 16 signed bytes for codes in the low halves of four bytes.
__device__ __forceinline__ uint32_t look_up(uint4 table, uint32_t codes) {
    uint32_t low = codes & 0x07070707;
    low |= low >> 4;
    uint32_t picks = __byte_perm(low, 0, 0x4420);
    uint32_t first = __byte_perm(table.x, table.y, picks), second = __byte_perm(table.z, table.w, picks);
    uint32_t upper = (codes >> 3 & 0x01010101) * 255;
    return (first & ~upper) | (second & upper);
}

__device__ __forceinline__ uint4 table_of(int code) {
    if (code == IQ4_NL || code == IQ4_XS) return make_uint4(0xbfad9881, 0xf6eaddcf, 0x26190d01, 0x71594535);
    return make_uint4(0x03020100, 0x0c080604, 0xfdfeff00, 0xf4f8fafc);
}

// The values of quads `t` and `t + 4` of a row, a byte each.
__device__ __forceinline__ void quads_of(int code, uint32_t a, uint32_t b, int t, uint32_t &low, uint32_t &high) {
    const int shift = t / 2 * 2;
    switch (bits_of(code)) {
        case 8:
            low = a, high = b;
            break;
        case 6:
            low = (a & 0x0f0f0f0f) | (b >> shift & 0x03030303) << 4;
            high = (a >> 4 & 0x0f0f0f0f) | (b >> (shift + 4) & 0x03030303) << 4;
            break;
        case 5:
            low = (a & 0x0f0f0f0f) | (b >> t & 0x01010101) << 4;
            high = (a >> 4 & 0x0f0f0f0f) | (b >> (t + 4) & 0x01010101) << 4;
            break;
        case 3:
            low = (a >> shift & 0x03030303) | (b >> t & 0x01010101) << 2;
            high = (a >> (shift + 4) & 0x03030303) | (b >> (t + 4) & 0x01010101) << 2;
            break;
        case 2:
            low = a >> shift & 0x03030303;
            high = a >> (shift + 4) & 0x03030303;
            break;
        case 1:
            low = (a >> t & 0x01010101) << 1;
            high = (a >> (t + 4) & 0x01010101) << 1;
            break;
        default:
            low = a & 0x0f0f0f0f;
            high = a >> 4 & 0x0f0f0f0f;
    }
    if (code == Q8_0) low ^= 0x80808080, high ^= 0x80808080;
    if (is_looked_up(code)) {
        uint4 table = table_of(code);
        low = look_up(table, low), high = look_up(table, high);
    }
}

// Whether values are 0 to 255, and not -128 to 127.
__device__ __forceinline__ constexpr bool is_unsigned(int code) { return code == AFFINE + 8; }

// `sum + value * x` over four bytes; `x` is signed.
__device__ __forceinline__ int dot_quad(int code, uint32_t value, int x, int sum) {
    if (!is_unsigned(code)) return __dp4a((int)value, x, sum);
    int result;
    asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(result) : "r"(value), "r"(x), "r"(sum));
    return result;
}

// Numbers beside codes, of `W` rows side by side, which are 1, 2 or 4, before they are taken apart.
template <int W> struct Sides {
    uint32_t words[8];

    // Bytes of the rows from `row` on.
    __device__ __forceinline__ void bytes(int to, const uint8_t *numbers, int row) {
        if constexpr (W == 1) words[to] = numbers[row];
        else if constexpr (W == 2) words[to] = *(const uint16_t *)(numbers + row);
        else words[to] = *(const uint32_t *)(numbers + row);
    }

    // Numbers of 16 bits.
    __device__ __forceinline__ void halves(int to, const uint8_t *numbers, int row) {
        if constexpr (W == 1) {
            words[to] = ((const uint16_t *)numbers)[row];
        } else if constexpr (W == 2) {
            words[to] = *(const uint32_t *)((const uint16_t *)numbers + row);
        } else {
            uint2 four = *(const uint2 *)((const uint16_t *)numbers + row);
            words[to] = four.x, words[to + 1] = four.y;
        }
    }

    // Numbers of 32 bits.
    __device__ __forceinline__ void words_at(int to, const uint8_t *numbers, int row) {
#pragma unroll
        for (int i = 0; i < W; i++) words[to + i] = ((const uint32_t *)numbers)[row + i];
    }

    // What `halves` read for a row, as bits and as a number of f16.
    __device__ __forceinline__ uint32_t half_bits(int from, int i) const { return words[from + i / 2] >> (i % 2 * 16) & 0xffff; }
    __device__ __forceinline__ float half(int from, int i) const {
        return __half2float(__ushort_as_half((uint16_t)half_bits(from, i)));
    }
};

__device__ __forceinline__ float byte_of(uint32_t numbers, int i) { return (float)(numbers >> (8 * i) & 255); }

// Half of the power of two that a code names.
__device__ __forceinline__ float power_half(uint32_t code) {
    return __uint_as_float(code < 2 ? 0x00200000u << code : (code - 1) << 23);
}

// Half of an E4M3 number without its sign.
__device__ __forceinline__ float e4m3_half(uint32_t code) {
    return __uint_as_float((code & 127) << 20) * __uint_as_float((120 + 126) << 23);
}

// Reads what lies beside the 32 columns `part` of a block, for `W` rows from `row` on. `s` is where the sides of the block
// begin.
template <int W>
__device__ __forceinline__ Sides<W> load_sides(int code, uint32_t how, const uint8_t *s, int part, int row) {
    Sides<W> sides;
    switch (code) {
        case Q4_K: case Q5_K:
            sides.halves(0, s, row);
            sides.halves(2, s + 32, row);
            sides.bytes(4, s + 64 + 16 * (part & 3), row);
            sides.bytes(5, s + 128 + 16 * (part & 3), row);
            sides.bytes(6, s + 192 + 16 * (part & 3), row);
            return sides;
        case Q2_K:
            sides.halves(0, s, row);
            sides.halves(2, s + 32, row);
            sides.bytes(4, s + 64 + 32 * part, row);
            sides.bytes(5, s + 80 + 32 * part, row);
            return sides;
        case Q3_K:
            sides.halves(0, s, row);
            sides.bytes(2, s + 32 + 32 * (part & 3), row);
            sides.bytes(3, s + 48 + 32 * (part & 3), row);
            sides.bytes(4, s + 160 + 32 * (part & 1), row);
            sides.bytes(5, s + 176 + 32 * (part & 1), row);
            return sides;
        case Q6_K:
            sides.halves(0, s, row);
            sides.bytes(2, s + 32 + 32 * part, row);
            sides.bytes(3, s + 48 + 32 * part, row);
            return sides;
        case IQ4_XS:
            sides.halves(0, s, row);
            sides.bytes(2, s + 64 + 16 * (part / 2), row);
            sides.bytes(3, s + 32 + 16 * (part / 4), row);
            return sides;
        case Q4_1: case Q5_1:
            sides.halves(0, s, row);
            sides.halves(2, s + 32, row);
            return sides;
        case MXFP4: case MLX_MXFP4:
            sides.bytes(0, s, row);
            return sides;
        case NVFP4: case MLX_NVFP4:
            sides.bytes(0, s + 32 * part, row);
            sides.bytes(1, s + 32 * part + 16, row);
            return sides;
        default:
            if (code > AFFINE && scale_type_of(how) == 3) {
                sides.words_at(0, s, row);
                sides.words_at(4, s + 64, row);
            } else {
                sides.halves(0, s, row);
                if (code > AFFINE) sides.halves(2, s + 32, row);
            }
            return sides;
    }
}

// Scales and minimums of the first and the last 16 columns, for each row that `sides` is of.
template <int W>
__device__ __forceinline__ void take_apart(
    int code, uint32_t how, const Sides<W> &sides, int part, float (&scale)[2][W], float (&minimum)[2][W]
) {
    const uint32_t *words = sides.words;
#define EACH_ROW _Pragma("unroll") for (int i = 0; i < W; i++)
#define EACH_HALF _Pragma("unroll") for (int h = 0; h < 2; h++)
#define SAME_HALVES EACH_ROW scale[1][i] = scale[0][i], minimum[1][i] = minimum[0][i];
    switch (code) {
        case Q4_K: case Q5_K: {
            bool first = part < 4;
            uint32_t low = words[6];
            uint32_t scales = first ? words[4] & 0x3f3f3f3f : (low & 0x0f0f0f0f) | (words[4] >> 2 & 0x30303030);
            uint32_t minimums = first ? words[5] & 0x3f3f3f3f : (low >> 4 & 0x0f0f0f0f) | (words[5] >> 2 & 0x30303030);
            EACH_ROW {
                scale[0][i] = sides.half(0, i) * byte_of(scales, i);
                minimum[0][i] = -sides.half(2, i) * byte_of(minimums, i);
            }
            SAME_HALVES
            return;
        }
        case Q2_K:
            EACH_HALF {
                uint32_t low = words[4 + h] & 0x0f0f0f0f, high = words[4 + h] >> 4 & 0x0f0f0f0f;
                EACH_ROW {
                    scale[h][i] = sides.half(0, i) * byte_of(low, i);
                    minimum[h][i] = -sides.half(2, i) * byte_of(high, i);
                }
            }
            return;
        case Q3_K:
            EACH_HALF {
                uint32_t low = words[2 + h] >> (part / 4 * 4) & 0x0f0f0f0f;
                uint32_t both = low | (words[4 + h] >> (part / 2 * 2) & 0x03030303) << 4;
                EACH_ROW scale[h][i] = sides.half(0, i) * (byte_of(both, i) - 32.0f);
            }
            return;
        case Q6_K:
            EACH_HALF {
                EACH_ROW scale[h][i] = sides.half(0, i) * (float)(int8_t)(words[2 + h] >> (8 * i));
            }
            return;
        case IQ4_XS: {
            uint32_t both = (words[2] >> (part % 2 * 4) & 0x0f0f0f0f) | (words[3] >> (part % 4 * 2) & 0x03030303) << 4;
            EACH_ROW scale[0][i] = sides.half(0, i) * (byte_of(both, i) - 32.0f);
            SAME_HALVES
            return;
        }
        case Q4_1: case Q5_1:
            EACH_ROW scale[0][i] = sides.half(0, i), minimum[0][i] = sides.half(2, i);
            SAME_HALVES
            return;
        case MXFP4: case MLX_MXFP4:
            EACH_ROW {
                uint32_t number = words[0] >> (8 * i) & 255;
                bool endless = code == MLX_MXFP4 && number == 255;
                scale[0][i] = endless ? __uint_as_float(0x7f800000) : power_half(number);
            }
            SAME_HALVES
            return;
        case NVFP4: case MLX_NVFP4:
            EACH_HALF {
                EACH_ROW {
                    uint32_t number = words[h] >> (8 * i) & 255;
                    float half = e4m3_half(number);
                    if (code == NVFP4) scale[h][i] = number == 127 ? 0.0f : half;
                    else scale[h][i] = number < 128 ? half : -half;
                }
            }
            return;
        default:
            EACH_ROW {
                // Scales of MLX: 1 is f16, 2 is bf16, 3 is f32.
                int type = code > AFFINE ? scale_type_of(how) : 1;
                if (type == 3) {
                    scale[0][i] = __uint_as_float(words[i]), minimum[0][i] = __uint_as_float(words[4 + i]);
                } else if (type == 2) {
                    scale[0][i] = __uint_as_float(sides.half_bits(0, i) << 16);
                    minimum[0][i] = __uint_as_float(sides.half_bits(2, i) << 16);
                } else {
                    scale[0][i] = sides.half(0, i);
                    minimum[0][i] = code > AFFINE ? sides.half(2, i) : 0.0f;
                }
            }
            SAME_HALVES
    }
#undef EACH_ROW
#undef EACH_HALF
#undef SAME_HALVES
}
