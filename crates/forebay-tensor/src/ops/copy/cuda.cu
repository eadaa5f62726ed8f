// `copy_same(x, out, row, width, b, c, steps.., unit, rows, types)` copies bytes, `copy_convert` elements that change their
// type, as `types` say: `rows` rows of `row` bytes and `width` elements come from where `steps` say, of which the first three lead from row to
// row and the last from a unit of `unit` bytes to the next. Units are elements, or blocks that follow each other.

#include "../../tiles/cuda/decode.cuh"

// Where a row begins in what is read.
__device__ __forceinline__ const uint8_t *begin_of(const uint8_t *x, uint32_t row, uint32_t b, uint32_t c,
                                                   uint32_t step_a, uint32_t step_b, uint32_t step_c) {
    uint32_t above = row / c;
    return x + (size_t)(above / b) * step_a + (size_t)(above % b) * step_b + (size_t)(row % c) * step_c;
}

// Copies all rows in grains of the size of `T`, of which a run of `run` bytes that lie together has some.
template <class T>
__device__ void copy_by(const uint8_t *x, uint8_t *out, uint32_t row, uint32_t b, uint32_t c, uint32_t step_a,
                        uint32_t step_b, uint32_t step_c, uint32_t step, uint32_t run, uint32_t rows) {
    size_t in_row = row / sizeof(T), all = in_row * rows, stride = (size_t)gridDim.x * blockDim.x;
    for (size_t grain = (size_t)blockIdx.x * blockDim.x + threadIdx.x; grain < all; grain += stride) {
        uint32_t at = (uint32_t)(grain % in_row) * (uint32_t)sizeof(T);
        const uint8_t *from = begin_of(x, (uint32_t)(grain / in_row), b, c, step_a, step_b, step_c);
        ((T *)out)[grain] = *(const T *)(from + (size_t)(at / run) * step + at % run);
    }
}

KERNEL copy_same(const uint8_t *x, uint8_t *out, uint32_t row, uint32_t width, uint32_t b, uint32_t c,
                 uint32_t step_a, uint32_t step_b, uint32_t step_c, uint32_t step, uint32_t unit, uint32_t rows,
                 uint32_t types) {
    begin();
    uint32_t run = step == unit || row == unit ? row : unit;
    // A row of one run takes no step.
    uint32_t apart = run == row ? 0 : step;
    size_t bits = (size_t)x | (size_t)out | run | step_a | step_b | step_c | apart;
    if (bits % 16 == 0) {
        copy_by<uint4>(x, out, row, b, c, step_a, step_b, step_c, apart, run, rows);
    } else if (bits % 8 == 0) {
        copy_by<uint2>(x, out, row, b, c, step_a, step_b, step_c, apart, run, rows);
    } else if (bits % 4 == 0) {
        copy_by<uint32_t>(x, out, row, b, c, step_a, step_b, step_c, apart, run, rows);
    } else if (bits % 2 == 0) {
        copy_by<uint16_t>(x, out, row, b, c, step_a, step_b, step_c, apart, run, rows);
    } else {
        copy_by<uint8_t>(x, out, row, b, c, step_a, step_b, step_c, apart, run, rows);
    }
}

// Eight elements of a row; past its end there are zeros.
__device__ __forceinline__ void read_eight(Type type, const uint8_t *row, uint32_t first, uint32_t width,
                                           uint32_t step, float (&w)[8]) {
    if (type != Type::F32 && type != Type::F16 && type != Type::BF16) {
        decode(type, row, first, width, w);
        return;
    }
#pragma unroll
    for (uint32_t i = 0; i < 8; i++) {
        w[i] = 0.0f;
        if (i >= width - first) continue;
        const uint8_t *p = row + (size_t)(first + i) * step;
        switch (type) {
        case Type::F16: w[i] = __half2float(*(const __half *)p); break;
        case Type::BF16: w[i] = __bfloat162float(*(const __nv_bfloat16 *)p); break;
        default: w[i] = *(const float *)p;
        }
    }
}

// What is furthest from zero among the elements of a block, of which each of four lanes has eight; the first of several.
__device__ __forceinline__ float furthest(const float (&w)[8], uint32_t lanes) {
    float most = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; i++) most = fabsf(w[i]) > fabsf(most) ? w[i] : most;
#pragma unroll
    for (uint32_t distance = 1; distance < 4; distance *= 2) {
        float other = __shfl_xor_sync(lanes, most, distance);
        bool is_later = threadIdx.x & distance;
        bool is_further = is_later ? fabsf(other) >= fabsf(most) : fabsf(other) > fabsf(most);
        most = is_further ? other : most;
    }
    return most;
}

__device__ __forceinline__ float inverse_of(float scale) { return scale == 0.0f ? 0.0f : __fdiv_rn(1.0f, scale); }

// The scale, by the first of the four lanes of a block.
__device__ __forceinline__ void write_scale(float d, uint8_t *block) {
    if (threadIdx.x % 4 != 0) return;
    uint32_t bits = __half_as_ushort(__float2half_rn(d));
    // The assembler takes a byte of a half for the half as a whole number, unless it does not see where the bits are from.
    asm("" : "+r"(bits));
    block[0] = bits & 255;
    block[1] = bits >> 8;
}

// A block of Q8_0: codes are rounded to nearest, halves away from zero, and what is no number is zero.
__device__ __forceinline__ void write_q8_0(const float (&w)[8], uint8_t *block, uint32_t lanes) {
    float d = __fdiv_rn(fabsf(furthest(w, lanes)), 127.0f), inverse = inverse_of(d);
    write_scale(d, block);
    block += 2 + threadIdx.x % 4 * 8;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        float code = roundf(__fmul_rn(w[i], inverse));
        block[i] = isnan(code) ? 0 : (uint8_t)(int32_t)fminf(fmaxf(code, -128.0f), 127.0f);
    }
}

// A block of Q4_0: the first two lanes write the codes of the last two above their own.
__device__ __forceinline__ void write_q4_0(const float (&w)[8], uint8_t *block, uint32_t lanes) {
    float d = __fdiv_rn(furthest(w, lanes), -8.0f), inverse = inverse_of(d);
    write_scale(d, block);
    uint32_t own = threadIdx.x % 4;
    block += 2 + own % 2 * 8;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        float shifted = __fadd_rn(__fmul_rn(w[i], inverse), 8.5f);
        // What is no number is not above zero either.
        uint32_t code = shifted > 0.0f ? (uint32_t)fminf(shifted, 15.0f) : 0;
        code = isnan(w[i]) ? 8 : code;
        uint32_t above = __shfl_xor_sync(lanes, code, 2);
        if (own < 2) block[i] = code | above << 4;
    }
}

// A thread owns eight elements; four neighbours own a block of 32, as rows of blocks have whole blocks.
KERNEL copy_convert(const uint8_t *x, uint8_t *out, uint32_t row, uint32_t width, uint32_t b, uint32_t c,
                    uint32_t step_a, uint32_t step_b, uint32_t step_c, uint32_t step, uint32_t unit, uint32_t rows,
                    uint32_t types) {
    begin();
    Type from = (Type)(types & 255), to = (Type)(types >> 8);
    uint32_t lanes = 15u << (threadIdx.x % WARP & ~3u);
    size_t in_row = (width + 7) / 8, all = in_row * rows, stride = (size_t)gridDim.x * blockDim.x;
    for (size_t eight = (size_t)blockIdx.x * blockDim.x + threadIdx.x; eight < all; eight += stride) {
        uint32_t first = (uint32_t)(eight % in_row) * 8, own_row = (uint32_t)(eight / in_row);
        uint8_t *to_row = out + (size_t)own_row * row;
        float w[8];
        read_eight(from, begin_of(x, own_row, b, c, step_a, step_b, step_c), first, width, step, w);
        if (to == Type::Q8_0) {
            write_q8_0(w, to_row + (size_t)(first / 32) * 34, lanes);
        } else if (to == Type::Q4_0) {
            write_q4_0(w, to_row + (size_t)(first / 32) * 18, lanes);
        } else {
#pragma unroll
            for (uint32_t i = 0; i < 8; i++) {
                if (i >= width - first) continue;
                switch (to) {
                case Type::F16: ((__half *)to_row)[first + i] = __float2half_rn(w[i]); break;
                case Type::BF16: ((__nv_bfloat16 *)to_row)[first + i] = __float2bfloat16_rn(w[i]); break;
                default: ((float *)to_row)[first + i] = w[i];
                }
            }
        }
    }
}
